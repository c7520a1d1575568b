"""From what a user has (a picture, a sound, a text) to a model's tensors, and from its outputs to an answer.

A manifest names the steps (`steps.py`); nothing here belongs to one model.
"""
