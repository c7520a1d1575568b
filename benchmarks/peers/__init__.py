"""`python -m benchmarks.peers`: our endpoint beside servers that are not ours, on the same engine and file."""
