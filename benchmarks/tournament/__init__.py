"""What choosing by measurement is worth, and what it costs: tournaments held against engines left alone."""
