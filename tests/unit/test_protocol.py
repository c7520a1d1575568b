"""The Open Inference Protocol's codec, value by value."""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol import oip
from cloud_bridge.protocol.compression import choose, expand
from cloud_bridge.protocol.message import LIMITS, Limits, Message, remaining
from edge_runtime.errors import (
    ArtifactError,
    CancelledError,
    EdgeError,
    InputError,
    LateError,
    NotInstalledError,
    ProtocolError,
    RefusedError,
    RunError,
    UnreachableError,
)
from edge_runtime.remote import Call
from edge_runtime.signature import DTYPES, Signature, TensorSpec
from edge_runtime.values import Array

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LENGTH = "inference-header-content-length"
X = TensorSpec("x", "float32", ("N", 2))
Y = TensorSpec("y", "float32", (1,))


def text(document: Any, raw: bytes = b"", budget: str | None = None) -> Message:
    """A message as somebody else's client would write it."""
    body = json.dumps(document).encode()
    lengths = {LENGTH: str(len(body))} if raw else {}
    return Message(body + raw, lengths if budget is None else {**lengths, "budget-ms": budget})


def tensor(data: Any = None, shape: list[int] | None = None, datatype: str = "FP32", **parameters: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": "x", "shape": [2] if shape is None else shape, "datatype": datatype}
    if data is not None:
        entry["data"] = data
    return {**entry, "parameters": parameters} if parameters else entry


def decode(entry: dict[str, Any], raw: bytes = b"") -> Array:
    return oip.decode_request(text({"inputs": [entry]}, raw)).inputs["x"]


def assert_refused(message: Message, words: str, limits: Limits = LIMITS) -> None:
    with pytest.raises(ProtocolError, match=words):
        oip.decode_request(message, limits)


class TestOnTheWire:
    """The bytes that others read and write."""

    def test_binary_request(self) -> None:
        """A binary request is JSON, then the tensors in their order, little endian, with the JSON's length in a header."""
        inputs = {"x": np.array([1, 2], np.float32), "b": np.array([[True], [False]])}
        message = oip.encode_request(Call("m", inputs), request_id="7", budget=0.25)
        length = int(message.headers[LENGTH])
        document = json.loads(bytes(message.body[:length]))
        assert document == {
            "id": "7",
            "parameters": {"binary_data_output": True},
            "inputs": [
                {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
                {"name": "b", "shape": [2, 1], "datatype": "BOOL", "parameters": {"binary_data_size": 2}},
            ],
        }
        assert bytes(message.body[length:]) == b"\x00\x00\x80?\x00\x00\x00@" + b"\x01\x00"
        assert message.headers["content-type"] == "application/octet-stream"
        assert message.headers["budget-ms"] == "250.000"

    def test_json_request(self) -> None:
        """A JSON request is all JSON, its data flat, without a length."""
        message = oip.encode_request(Call("m", {"x": np.array([[1, 2], [3, 4]], np.int8)}), binary=False)
        entry = {"name": "x", "shape": [2, 2], "datatype": "INT8", "data": [1, 2, 3, 4]}
        assert json.loads(bytes(message.body)) == {"inputs": [entry]}
        assert message.headers == {"content-type": "application/json"}

    def test_response_says_what_ran(self) -> None:
        """A response carries the caller's id, and its parameters say which engine, device and variant ran, and how long."""
        response = oip.InferResponse("m", {"y": np.zeros(1, np.float32)}, "1.0", "ort 1", "CPU", "int8", 0.5, 0.25)
        message = oip.encode_response(response, oip.InferRequest({}, id="7"))
        told = {
            "edge_engine": "ort 1",
            "edge_device": "CPU",
            "edge_variant": "int8",
            "edge_seconds": 0.5,
            "edge_waited": 0.25,
        }
        output = {"name": "y", "shape": [1], "datatype": "FP32", "data": [0.0]}
        wanted = {"model_name": "m", "model_version": "1.0", "id": "7", "parameters": told, "outputs": [output]}
        assert json.loads(bytes(message.body)) == wanted
        reply = oip.decode_reply(message)
        assert (reply.engine, reply.device, reply.variant) == ("ort 1", "CPU", "int8")
        assert (reply.seconds, reply.waited) == (0.5, 0.25)

    def test_foreign_response(self) -> None:
        """A server that is not ours, with nulls and parameters of its own, gives outputs and says nothing of what ran."""
        output = {**tensor([1.0, 2.0]), "parameters": {"content_type": "np", "headers": {"a": "b"}}}
        reply = oip.decode_reply(text({"model_name": "m", "id": None, "parameters": None, "outputs": [output]}))
        assert reply.outputs["x"].tolist() == [1.0, 2.0]
        assert (reply.engine, reply.device, reply.variant, reply.seconds) == ("", "", "", None)

    def test_answer_to_another_request(self) -> None:
        """An answer whose id is another request's is not taken."""
        message = text({"model_name": "m", "id": "8", "outputs": []})
        with pytest.raises(ProtocolError, match="another request"):
            oip.decode_reply(message, request_id="7")

    @pytest.mark.parametrize("name", DTYPES)
    def test_first_tensor_is_not_copied(self, name: str) -> None:
        """What we wrote ourselves is read where it lies, as every dtype that a signature can name."""
        written = oip.encode_request(Call("m", {"x": np.ones(3, name)}))
        message = Message(written.body, written.headers)
        array = oip.decode_request(message).inputs["x"]
        assert array.dtype == name
        assert array.flags.aligned
        assert np.shares_memory(array, np.frombuffer(message.body, np.uint8))

    def test_tensors_are_written_from_where_they_lie(self) -> None:
        """A message of a tensor holds its own bytes; in one part they are the same."""
        x = np.arange(3, dtype=np.float32)
        message = oip.encode_request(Call("m", {"x": x}))
        assert np.shares_memory(np.frombuffer(message.parts[1], np.uint8), x)
        assert message.body == b"".join(message.parts)
        assert message.size == len(message.body)

    def test_unaligned_tensors_are_copied(self) -> None:
        """A tensor that lies at an odd place comes out aligned, as engines want it."""
        inputs: dict[str, Array] = {"a": np.array([1], np.uint8), "x": np.array([1.5], np.float64)}
        array = oip.decode_request(oip.encode_request(Call("m", inputs))).inputs["x"]
        assert array.flags.aligned
        assert array.tolist() == [1.5]

    @pytest.mark.parametrize("binary", [True, False])
    def test_layout_of_the_array_does_not_matter(self, binary: bool) -> None:
        """Transposed, sliced, big-endian and zero-dimensional arrays arrive as what they say."""
        grid = np.arange(12, dtype=np.int32).reshape(3, 4)
        inputs: dict[str, Array] = {"t": grid.T, "s": grid[::2, 1::2], "b": grid.astype(">i4"), "z": np.array(5, np.int32)}
        arrived = oip.decode_request(oip.encode_request(Call("m", inputs), binary=binary)).inputs
        for name, array in inputs.items():
            assert np.array_equal(arrived[name], array)
            assert arrived[name].shape == array.shape


class TestRequests:
    """What a request may say."""

    @pytest.mark.parametrize("data", [[[1, 2], [3, 4], [5, 6]], [1, 2, 3, 4, 5, 6]])
    def test_flat_and_nested(self, data: list[Any]) -> None:
        """Data may be flat or nested as the shape says."""
        assert decode(tensor(data, [3, 2])).tolist() == [[1, 2], [3, 4], [5, 6]]

    def test_text(self) -> None:
        """BYTES come as UTF-8 strings in JSON, flat or nested, and as lengths with bytes in binary."""
        assert decode(tensor(["a", "ü,["], datatype="BYTES")).tolist() == [b"a", "ü,[".encode()]
        assert decode(tensor([["a"], ["b"]], [2, 1], "BYTES")).tolist() == [[b"a"], [b"b"]]
        raw = b"\x01\x00\x00\x00a\x00\x00\x00\x00"
        assert decode(tensor(datatype="BYTES", binary_data_size=9), raw).tolist() == [b"a", b""]

    def test_which_outputs(self) -> None:
        """Each output that is named is written as it says, else as the request says, else as JSON."""
        inputs = [tensor([1.0, 2.0])]
        outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
        request = oip.decode_request(
            text({"inputs": inputs, "outputs": outputs, "parameters": {"binary_data_output": True}})
        )
        assert request.outputs == (oip.RequestedOutput("a", True), oip.RequestedOutput("b", False))
        values = {name: np.array([1], np.uint8) for name in "abc"}
        message = oip.encode_response(oip.InferResponse("m", values), request)
        length = int(message.headers[LENGTH])
        first, second = json.loads(bytes(message.body[:length]))["outputs"]
        assert first["parameters"] == {"binary_data_size": 1}
        assert second["data"] == [1]
        assert len(message.body) == length + 1

    def test_unknown_output(self) -> None:
        """Asking for an output that is not there is the caller's error."""
        request = oip.InferRequest({}, outputs=(oip.RequestedOutput("z", True),))
        with pytest.raises(InputError, match="no output 'z'"):
            oip.encode_response(oip.InferResponse("m", {"y": np.zeros(1)}), request)

    @pytest.mark.parametrize("array", [np.array([np.nan]), np.array([np.inf], np.float32), np.zeros(1, np.float16)])
    def test_what_json_cannot_carry(self, array: Array) -> None:
        """NaN, infinity and float16 are refused for JSON with a word about binary data, and travel as binary data."""
        with pytest.raises(InputError, match="binary data"):
            oip.encode_request(Call("m", {"x": array}), binary=False)
        arrived = oip.decode_request(oip.encode_request(Call("m", {"x": array}))).inputs["x"]
        assert arrived.tobytes() == array.tobytes()

    def test_dtype_without_a_name(self) -> None:
        """A dtype that the protocol does not know is an InputError."""
        with pytest.raises(InputError, match="complex"):
            oip.encode_request(Call("m", {"x": np.zeros(1, complex)}))

    def test_budget(self) -> None:
        """The budget is the header's or the `timeout` parameter's (microseconds; 0 is none), the shorter of the two."""
        document: dict[str, Any] = {"inputs": []}
        assert oip.decode_request(text(document)).budget is None
        assert oip.decode_request(text(document, budget="20.5")).budget == 0.0205
        assert oip.decode_request(text({**document, "parameters": {"timeout": 5000}})).budget == 0.005
        assert oip.decode_request(text({**document, "parameters": {"timeout": 0}})).budget is None
        both = text({**document, "parameters": {"timeout": 5000}}, budget="3")
        assert oip.decode_request(both).budget == 0.003

    @pytest.mark.parametrize("budget", ["", "-1", "1e3", "nan", "soon", "1.", "99999999999"])
    def test_odd_budget(self, budget: str) -> None:
        """A budget that is no plain duration is refused before anything else is read."""
        with pytest.raises(ProtocolError, match="budget-ms"):
            remaining(Message(b"", {"budget-ms": budget}))

    @pytest.mark.parametrize(
        ("shape", "raw", "wanted"),
        [(("N", 2), 16, (2, 2)), ((1, 3), 12, (1, 3)), (("N", 2), 0, (0, 2))],
    )
    def test_raw_body(self, shape: tuple[int | str, ...], raw: int, wanted: tuple[int, ...]) -> None:
        """A body that is one raw tensor gets name and shape from the signature, and raw outputs."""
        signature = Signature((TensorSpec("x", "float32", shape),), (Y,))
        request = oip.decode_request(Message(bytes(raw), {LENGTH: "0"}), signature=signature)
        assert request.inputs["x"].shape == wanted
        assert request.binary

    @pytest.mark.parametrize(
        ("inputs", "raw"),
        [((X,), 12), ((X, Y), 8), ((TensorSpec("x", "float32", ("N", "M")),), 8), ((TensorSpec("x", "float32", (1,)),), 8)],
    )
    def test_raw_body_that_does_not_fit(self, inputs: tuple[TensorSpec, ...], raw: int) -> None:
        """A raw body needs just one input, one open dimension at most, and the right number of bytes."""
        with pytest.raises(ProtocolError):
            oip.decode_request(Message(bytes(raw), {LENGTH: "0"}), signature=Signature(inputs, (Y,)))

    def test_raw_body_without_a_signature(self) -> None:
        """Nobody can tell what a raw body is without the model's signature."""
        assert_refused(Message(bytes(8), {LENGTH: "0"}), "one raw tensor")


class TestRefused:
    """Each thing that is wrong is one ProtocolError that names it."""

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            (tensor([1, 2], datatype="FP99"), "no datatype"),
            (tensor([1, 2], shape=[-2]), "negative"),
            (tensor([], shape=[0, 10**30]), "too many elements"),
            (tensor([], shape=[0, 1 << 29], datatype="BYTES"), "too many elements"),
            (tensor(shape=[0, 10**30], binary_data_size=0), "too many elements"),
            (tensor([1, 2], shape=[1] * 9), "9 dimensions"),
            (tensor([1, 2], shape=[1 << 20, 1 << 20]), "elements"),
            (tensor([1, 2], shape=[10**4000, 10**4000]), "too many elements"),
            (tensor([1, 2, 3]), "3 elements"),
            (tensor([]), "elements|shape"),
            (tensor(), "data"),
            (tensor([1.5, 2], datatype="INT32"), "INT32"),
            (tensor([1.0, 2.0], datatype="INT32"), "INT32"),
            (tensor([128, 0], datatype="INT8"), "INT8"),
            (tensor([-1, 0], datatype="UINT64"), "UINT64"),
            (tensor([1 << 64, 0], datatype="UINT64"), "UINT64"),
            (tensor([1 << 63, 0], datatype="INT64"), "INT64"),
            (tensor([True, False]), "FP32"),
            (tensor([1, 0], datatype="BOOL"), "BOOL"),
            (tensor(["1", "2"]), "FP32"),
            (tensor([1e39, 0]), "too large"),
            (tensor([float("nan"), 0]), "JSON|FP32"),
            (tensor([1, 2], datatype="FP16"), "binary data only"),
            (tensor([1, 2], datatype="BYTES"), "BYTES"),
            (tensor([[1, 2], [3]], shape=[2, 2]), "elements"),
            (tensor([[1, 2], [3, 4]], shape=[4]), "FP32"),
            (tensor([[1, 2, 3], [4]], shape=[2, 2]), "FP32"),
            (tensor([[1], [2]], shape=[1, 2]), "shape"),
            (tensor([["a"], ["b", "c"]], [3, 1], "BYTES"), "BYTES"),
            (tensor([["a", "b"]], [2, 1], "BYTES"), "BYTES"),
            (tensor([1, 2], binary_data_size=8), "both|left of"),
            (tensor(binary_data_size=-1), "binary_data_size"),
            (tensor(binary_data_size=True), "binary_data_size"),
            (tensor(binary_data_size="8"), "binary_data_size"),
            (tensor(binary_data_size=8), "0 bytes are left"),
            (tensor([1, 2], shared_memory_region="r"), "shared_memory_region"),
        ],
    )
    def test_tensor(self, entry: dict[str, Any], words: str) -> None:
        """A tensor that contradicts itself, or what a number must be."""
        assert_refused(text({"inputs": [entry]}), words)

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            ([], "JSON"),
            ({}, "inputs"),
            ({"inputs": {}}, "inputs"),
            ({"inputs": [{"shape": [1], "datatype": "FP32", "data": [1]}]}, "name"),
            ({"inputs": [{"name": "x", "shape": [1.5], "datatype": "FP32", "data": [1]}]}, "shape"),
            ({"inputs": [tensor([1.0, 2.0])] * 2}, "given twice"),
            ({"inputs": [], "id": 5}, "id"),
            ({"inputs": [], "parameters": []}, "parameters"),
            ({"inputs": [], "parameters": {"binary_data_output": 1}}, "binary_data_output"),
            ({"inputs": [], "parameters": {"timeout": -1}}, "timeout"),
            ({"inputs": [], "parameters": {"timeout": 1.5}}, "timeout"),
            ({"inputs": [], "parameters": {"sequence_id": 5}}, "sequence_id"),
            ({"inputs": [], "outputs": [{"name": "y"}] * 2}, "twice"),
            ({"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "classification"),
            ({"inputs": [{**tensor([]), "name": str(i)} for i in range(257)]}, "257 tensors"),
        ],
    )
    def test_document(self, document: Any, words: str) -> None:
        """A document of the wrong form, or one that asks for what is not done here."""
        assert_refused(text(document), words)

    def test_timeout_past_any_float(self) -> None:
        """A timeout of hundreds of digits is a long budget, not a defect."""
        request = oip.decode_request(text({"inputs": [], "parameters": {"timeout": 10**400}}))
        assert request.budget == 1e9

    @pytest.mark.parametrize("length", ["-1", "x", "", "1.5", "0x10", "99999999999999999999", "1000", "+2", " 2"])
    def test_length_of_the_json(self, length: str) -> None:
        """A length that is no number, or past the body's end."""
        assert_refused(Message(b'{"inputs":[]}', {LENGTH: length}), LENGTH)

    def test_bytes_left_over(self) -> None:
        """Bytes that no tensor claims."""
        assert_refused(text({"inputs": [tensor(binary_data_size=8)]}, bytes(9)), "1 bytes are left over")

    def test_wrong_number_of_bytes(self) -> None:
        """A tensor whose bytes are not its shape's."""
        assert_refused(text({"inputs": [tensor(binary_data_size=4)]}, bytes(4)), "4 bytes are given for 2 elements")

    def test_bool_byte(self) -> None:
        """A BOOL byte that is neither 0 nor 1."""
        assert_refused(text({"inputs": [tensor(datatype="BOOL", binary_data_size=2)]}, b"\x01\x02"), "neither 0 nor 1")

    @pytest.mark.parametrize("raw", [b"\x01\x00\x00\x00a", b"\xff\xff\xff\xffab", b"\x00" * 12, b"\x00\x00\x00\x00\x00"])
    def test_bytes_tensor(self, raw: bytes) -> None:
        """BYTES whose lengths do not add up."""
        assert_refused(text({"inputs": [tensor(datatype="BYTES", binary_data_size=len(raw))]}, raw), "BYTES")

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b'{"inputs":' + b"[" * 50_000]
    )
    def test_not_json(self, body: bytes) -> None:
        """No JSON at all, and JSON nested past any stack."""
        assert_refused(Message(body), "JSON")

    def test_limits(self) -> None:
        """Body, JSON, elements, rank and tensors have limits that can be set."""
        message = text({"inputs": [tensor([1.0, 2.0])]})
        assert_refused(message, "at most 10", Limits(body=10))
        assert_refused(message, "at most 10", Limits(json=10))
        assert_refused(message, "at most 1 ", Limits(elements=1))
        assert_refused(message, "at most 0 ", Limits(rank=0))
        assert_refused(message, "at most 0 ", Limits(tensors=0))


PRESS: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}


class TestCompression:
    """gzip, deflate and zstd, both ways."""

    BODY = json.dumps({"inputs": [tensor([1.0, 2.0])]}).encode()

    @pytest.mark.parametrize(("coding", "press"), [*PRESS.items(), ("GZip ", gzip.compress)])
    def test_request(self, coding: str, press: Any) -> None:
        """A compressed request is read; the length of its JSON counts what was there before."""
        headers = {"content-encoding": coding, LENGTH: str(len(self.BODY))}
        assert oip.decode_request(Message(press(self.BODY), headers)).inputs["x"].tolist() == [1.0, 2.0]

    def test_response(self) -> None:
        """A response is compressed as it was asked for, and the client reads it."""
        response = oip.InferResponse("m", {"y": np.zeros(1000, np.float32)})
        for coding in PRESS:
            message = oip.encode_response(response, oip.InferRequest({}, binary=True, accept=coding))
            assert message.headers["content-encoding"] == coding
            assert len(message.body) < 1000
            assert oip.decode_reply(message).outputs["y"].shape == (1000,)

    @pytest.mark.parametrize(
        ("accepted", "chosen"),
        [
            ("", None),
            ("br", None),
            ("gzip;q=0", None),
            ("br, deflate;q=0.5, gzip", "deflate"),
            ("GZIP", "gzip"),
            ("*", None),
        ],
    )
    def test_choice(self, accepted: str, chosen: str | None) -> None:
        """The first that both know; none when nothing was asked for."""
        assert choose(accepted) == chosen

    @pytest.mark.parametrize("coding", list(PRESS))
    def test_bomb(self, coding: str) -> None:
        """A body that expands past the limit is given up there."""
        assert_refused(
            Message(PRESS[coding](bytes(10_000_000)), {"content-encoding": coding}), "expands past", Limits(body=1_000_000)
        )

    @pytest.mark.parametrize("coding", list(PRESS))
    def test_damaged(self, coding: str) -> None:
        """Cut short, followed by junk, not compressed at all, or in a coding that nobody speaks here."""
        good = PRESS[coding](self.BODY)
        assert_refused(Message(good[:-1], {"content-encoding": coding}), "cut short")
        assert_refused(Message(good + b"x", {"content-encoding": coding}), "followed by")
        assert_refused(Message(self.BODY, {"content-encoding": coding}), f"not {coding}")
        assert_refused(Message(good, {"content-encoding": "br"}), "not understood")

    def test_wide_window(self) -> None:
        """A zstd frame that asks for more memory to decode it than HTTP's codings may is refused."""
        stream = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
        wide = stream.compress(self.BODY) + stream.flush()
        assert_refused(Message(wide, {"content-encoding": "zstd"}), "too much memory")

    @given(st.binary(max_size=200), st.sampled_from(sorted(PRESS)), st.integers(0, 200))
    def test_any_bytes(self, junk: bytes, coding: str, cut: int) -> None:
        """Are expanded or refused."""
        for body in (junk, PRESS[coding](self.BODY)[:cut] + junk):
            with contextlib.suppress(ProtocolError):
                expand(Message(body, {"content-encoding": coding}), Limits(body=10_000))


class TestErrors:
    """Errors over the wire."""

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (InputError("a"), 400),
            (ProtocolError("a"), 400),
            (NotInstalledError("a"), 404),
            (RefusedError("a", status=413), 413),
            (LateError("a"), 504),
            (RunError("a"), 500),
            (ArtifactError("a"), 500),
            (UnreachableError("a"), 500),
            (CancelledError("a"), 499),
            (EdgeError(), 500),
        ],
    )
    def test_status(self, error: EdgeError, status: int) -> None:
        """Each error has its status and a body that says why, and arrives as LateError or as RefusedError."""
        given, message = oip.encode_error(error)
        assert given == status
        arrived = oip.decode_error(given, message)
        assert isinstance(arrived, LateError if status == 504 else RefusedError)
        assert str(error) in str(arrived)
        if isinstance(arrived, RefusedError):
            assert arrived.status == status

    def test_retry_after(self) -> None:
        """An overloaded endpoint says when to come back, in whole seconds as HTTP has it, and exactly to who reads that."""
        status, message = oip.encode_error(RefusedError("full", status=503, retry_after=0.05))
        assert message.headers["retry-after"] == "1"
        arrived = oip.decode_error(status, message)
        assert isinstance(arrived, RefusedError)
        assert arrived.retry_after == 0.05
        other = oip.decode_error(status, Message(b"", {"retry-after": "1"}))
        assert isinstance(other, RefusedError)
        assert other.retry_after == 1.0

    @pytest.mark.parametrize(
        "body", [b"", b"<html>Bad gateway</html>", b'{"error": 5}', b"\xff\xfe", b"[" * 9000, b"x" * 100_000]
    )
    def test_foreign_error(self, body: bytes) -> None:
        """A proxy's error page, nothing, or junk still gives an error that can be read."""
        error = oip.decode_error(502, Message(body, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}))
        assert isinstance(error, RefusedError)
        assert error.retry_after is None
        assert 20 < len(str(error)) < 3000

    def test_surrogates_in_a_message(self) -> None:
        """A message that is not proper text, a file's odd name for one, does not break the answer."""
        _, message = oip.encode_error(EdgeError("odd \udcff name"))
        assert b"odd ? name" in bytes(message.body)

    def test_long_message(self) -> None:
        """An error that repeats a name as long as the request is cut: a wrong request costs no big answer."""
        _, message = oip.encode_error(EdgeError("x" * 1_000_000))
        assert len(message.body) < 3000


class TestMetadata:
    """What a server and a model say of themselves."""

    def test_model(self) -> None:
        """A signature becomes the protocol's words, open dimensions -1."""
        document = oip.describe("m", ("1.0", "2.0"), "p", Signature((X,), (Y,)))
        message = oip.encode_metadata(document)
        assert json.loads(bytes(message.body)) == {
            "name": "m",
            "versions": ["1.0", "2.0"],
            "platform": "p",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1]}],
        }
        assert oip.decode_metadata(message, oip.ModelMetadata) == document

    def test_server(self) -> None:
        """Another server's description is read, fields that are not known passed over."""
        message = text({"name": "triton", "version": "2.60", "extensions": ["binary_tensor_data"], "new": {}})
        assert oip.decode_metadata(message, oip.ServerMetadata).extensions == (oip.BINARY_EXTENSION,)

    @pytest.mark.parametrize("body", [b"", b"[]", b'{"name": 5}', b'{"version": "1"}', b"[" * 100_000, b'{"name":"\xff"}'])
    def test_junk(self, body: bytes) -> None:
        """Anything else is a ProtocolError."""
        with pytest.raises(ProtocolError, match="metadata"):
            oip.decode_metadata(Message(body), oip.ServerMetadata)


def test_what_is_read_at_once() -> None:
    """Raw numbers, however many; not much JSON, nor many texts, which would hold up the thread that brings them."""
    numbers, texts = np.ones(100_000, np.float32), np.array([b""] * 20_000, object)
    assert oip.is_quick(oip.encode_request(Call("m", {"x": numbers})))
    assert not oip.is_quick(oip.encode_request(Call("m", {"x": numbers}), binary=False))
    assert not oip.is_quick(oip.encode_request(Call("m", {"x": texts})))
    assert oip.is_quick(oip.encode_request(Call("m", {"x": texts[:5]})))


def test_texts_have_a_limit_of_their_own() -> None:
    """Each takes much more memory here than on its way."""
    message = oip.encode_request(Call("m", {"x": np.array([b""] * 11, object)}))
    with pytest.raises(ProtocolError, match="at most 10"):
        oip.decode_request(message, Limits(texts=10))
