"""Thirteen small nets of the kinds that devices run, with random weights: a benchmark of speed needs no accuracy."""
