"""`python -m benchmarks.wire`: what our clients and endpoint add to the bare wire."""
