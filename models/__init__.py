"""The models and the pipelines that use them on real input."""
