"""Phrases to calibrate language_lstm with, and to judge it by."""

from __future__ import annotations

from models.language import golden, measure, samples

__all__ = ["golden", "measure", "samples"]
