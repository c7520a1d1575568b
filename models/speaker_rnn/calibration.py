"""The same utterances as speaker_gru's: to calibrate with, and to judge by."""

from models.speaker_gru.calibration import golden, measure, samples

__all__ = ["golden", "measure", "samples"]
