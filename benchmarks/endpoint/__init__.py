"""`python -m benchmarks.endpoint`: what the endpoint makes of the engine that it runs."""
