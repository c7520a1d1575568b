"""Smaller, faster forms of a model, each let in only if it was measured to be right."""

from edge_runtime.optimize.gate import Gate, Measure, Trial, Verdict, agreement, retention
from edge_runtime.optimize.quantization import Nodes, Progress, Quantization, Quantizer
from edge_runtime.optimize.samples import check_samples, hold_out, load_samples
from edge_runtime.optimize.variants import INT8, QUANTIZERS, Outcome, optimize

__all__ = [
    "INT8",
    "QUANTIZERS",
    "Gate",
    "Measure",
    "Nodes",
    "Outcome",
    "Progress",
    "Quantization",
    "Quantizer",
    "Trial",
    "Verdict",
    "agreement",
    "check_samples",
    "hold_out",
    "load_samples",
    "optimize",
    "retention",
]
