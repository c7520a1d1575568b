"""What a fleet's devices and controllers tell each other: topics, and the JSON on them. Pure."""
