"""Smaller, faster forms of a model, each let in only if it was measured to be right."""

from edge_runtime.optimize.gate import Gate, Verdict, agreement, retention
from edge_runtime.optimize.quantize import Progress, Quantization, quantize
from edge_runtime.optimize.samples import check_samples, hold_out, load_samples
from edge_runtime.optimize.variants import INT8, Outcome, optimize

__all__ = [
    "INT8",
    "Gate",
    "Outcome",
    "Progress",
    "Quantization",
    "Verdict",
    "agreement",
    "check_samples",
    "hold_out",
    "load_samples",
    "optimize",
    "quantize",
    "retention",
]
