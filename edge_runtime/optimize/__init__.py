"""Other forms of a model, smaller and faster, each let in only if it was measured to be right."""

from edge_runtime.optimize.bare import SUFFIXES, bundle_of
from edge_runtime.optimize.gate import Gate, Measure, Retention, Trial, Verdict, agreement, retention
from edge_runtime.optimize.labels import by_labels
from edge_runtime.optimize.quantization import Control, Nodes, Progress, Quantization, Quantizer
from edge_runtime.optimize.samples import LABEL, Data, check_samples, digest, hold_out, load_data, load_samples
from edge_runtime.optimize.variants import Outcome, optimize
from edge_runtime.optimize.ways import WAYS, Way

INT8 = {"onnx": "int8-onnx", "tflite": "int8-tflite"}
"""By format, the name of the int8 variant of it that is most often right."""

__all__ = [
    "INT8",
    "LABEL",
    "SUFFIXES",
    "WAYS",
    "Control",
    "Data",
    "Gate",
    "Measure",
    "Nodes",
    "Outcome",
    "Progress",
    "Quantization",
    "Quantizer",
    "Retention",
    "Trial",
    "Verdict",
    "Way",
    "agreement",
    "bundle_of",
    "by_labels",
    "check_samples",
    "digest",
    "hold_out",
    "load_data",
    "load_samples",
    "optimize",
    "retention",
]
