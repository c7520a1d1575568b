"""`python -m benchmarks.routing`: routing policies over recorded links, in a simulator that drives the router that
ships."""
