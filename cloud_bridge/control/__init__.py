"""The way to a broker of what a fleet says: jobs, shadows, questions. Tensors have one of their own."""
