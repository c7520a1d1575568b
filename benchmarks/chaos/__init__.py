"""A fleet under violence, and what is true of it afterwards."""
