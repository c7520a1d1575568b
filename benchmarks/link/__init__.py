"""`python -m benchmarks.link`: the real runtime, endpoint and broker over an emulated link that replays recordings."""
