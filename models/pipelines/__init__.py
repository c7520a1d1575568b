"""What the models are for, on real input: read a page, listen for speech, hold the engines against one another.

Each pipeline is a few functions over anything that infers (`model.Model`): a runtime's model, or an engine's session alone.
"""
