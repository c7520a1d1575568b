"""Which shapes there are: names and signatures. It needs no torch."""

from __future__ import annotations

import msgspec

from edge_runtime.signature import Signature, StatePair, TensorSpec
from models.toolchain import Exporter


class Shape(msgspec.Struct, frozen=True):
    """One net. Its module is the function of the same name in `nets`."""

    name: str
    task: str
    signature: Signature
    exporter: Exporter = "dynamo"
    classes: int = 0
    """Of an input of integers: they are below it."""

    @property
    def model(self) -> str:
        """The name of its bundle."""
        return f"shape_{self.name}"


def _floats(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


def _one(source: TensorSpec, *out: int) -> Signature:
    return Signature((source,), (_floats("y", *out),))


_TOKENS = TensorSpec("tokens", "int32", (1, 64))

SHAPES = (
    Shape("tiny_cnn", "a convolution and two dense layers, 28x28", _one(_floats("x", 1, 1, 28, 28), 1, 10)),
    Shape("resnet8", "ResNet-8 of MLPerf Tiny, 32x32", _one(_floats("x", 1, 3, 32, 32), 1, 10)),
    Shape("dscnn", "DS-CNN of MLPerf Tiny, keyword spotting, 49x10", _one(_floats("x", 1, 1, 49, 10), 1, 12)),
    Shape("mobilenetv1", "MobileNetV1 0.25 of MLPerf Tiny, 96x96", _one(_floats("x", 1, 3, 96, 96), 1, 2)),
    Shape("autoencoder", "the dense autoencoder of MLPerf Tiny, 640", _one(_floats("x", 1, 640), 1, 640)),
    Shape("mobilenetv2", "MobileNetV2, 224x224", _one(_floats("x", 1, 3, 224, 224), 1, 1000)),
    Shape("resnet18", "ResNet-18, 224x224", _one(_floats("x", 1, 3, 224, 224), 1, 1000)),
    Shape("simple_rnn", "a simple RNN over 29 steps", _one(_floats("x", 1, 29, 12), 1, 9), "torchscript"),
    Shape("gru", "a GRU over 29 steps", _one(_floats("x", 1, 29, 12), 1, 9), "torchscript"),
    Shape("emb_lstm", "an embedding and an LSTM over 64 tokens", _one(_TOKENS, 1, 8), "torchscript", 128),
    Shape("lstm_attention", "an LSTM with attention over 64 tokens", _one(_TOKENS, 1, 8), "torchscript", 128),
    Shape("transformer", "a small transformer encoder over 64 tokens", _one(_TOKENS, 1, 8), "dynamo", 128),
    Shape(
        "stream_lstm", "an LSTM over chunks of 10 steps, its state carried",
        Signature(
            (_floats("x", 1, 10, 32), _floats("h", 1, 1, 128), _floats("c", 1, 1, 128)),
            (_floats("y", 1, 10, 4), _floats("h1", 1, 1, 128), _floats("c1", 1, 1, 128)),
            (StatePair("h", "h1"), StatePair("c", "c1")),
        ),
        "torchscript",
    ),
)  # fmt: skip
