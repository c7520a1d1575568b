"""Every setting that a backend has is obeyed or refused, and changes nothing about the answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import numpy as np
import pytest

from edge_runtime import backends
from edge_runtime.backends import onnx as onnx_file
from edge_runtime.backends import openvino_engine
from edge_runtime.backends.base import Session, StateStream, Stream
from edge_runtime.bundles import golden
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import Store
from edge_runtime.engines import open_variant
from edge_runtime.errors import BackendError, InputError, RunError
from edge_runtime.host import cores_allowed
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array, Device, Settings
from tests.contract.conftest import Engine

CORES = cores_allowed()
STEPS = 50
HINTS = {"f16": 0.05, "bf16": 0.1}
"""How far from the golden outputs a type with fewer bits may lead, in models that bear it: not in basic-pitch, which f16
gives numbers past its range."""


def opened(bundle: Bundle, backend: str, settings: Settings = Settings()) -> Session:
    """The bundle's first variant that this backend loads."""
    formats = backends.backend(backend).formats
    variant = next(variant for variant in bundle.manifest.variants if variant.format in formats)
    return open_variant(bundle, variant, backend, "CPU", settings)


def noise(specs: tuple[TensorSpec, ...], seed: int, **sizes: int) -> dict[str, Array]:
    """Small numbers of these shapes."""
    random = np.random.default_rng(seed)
    return {spec.name: (random.standard_normal(spec.sized(sizes)) / 9).astype(spec.dtype) for spec in specs}


def same(found: dict[str, Array], wanted: dict[str, Array], within: float = 1e-6) -> bool:
    """Whether two sets of tensors are the same, within this difference."""
    return found.keys() == wanted.keys() and all(np.abs(found[name] - wanted[name]).max() <= within for name in wanted)


@pytest.mark.parametrize("name", ["digits_cnn", "activity_cnn_lstm", "basic_pitch"])
@pytest.mark.parametrize("backend", backends.NAMES)
def test_every_tuning_is_right(store: Store, backend: str, name: str) -> None:
    """It loads here, and gives the golden outputs; the backend's own settings are the first; none comes twice."""
    bundle, device = store.bundle(name), Device(backend, "CPU")
    signature, sizes, known = bundle.manifest.signature, bundle.manifest.sizes, golden.load(bundle)
    tried = tuple(backends.backend(backend).tunings(device, CORES, signature, sizes))
    assert tried[0] == Settings()
    assert len(set(tried)) == len(tried) <= 12
    assert any(settings.resident for settings in tried) == (bool(signature.state) and backend != "tflite")
    assert any(settings.fixed for settings in tried) == (name == "basic_pitch" and backend == "openvino")
    for settings in tried:
        with closing(opened(bundle, backend, settings)) as session:
            assert session.signature == signature
            far = golden.distance(session.run, known[0][:2], known[1][:2])
            assert far <= HINTS.get(settings.hint or "", 1e-4) or (settings.hint and name == "basic_pitch"), settings


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_other_devices_have_few_tunings(store: Store, backend: str) -> None:
    """Where threads are not the engine's to set, its own settings and, for openvino, fixed sizes are all there is."""
    manifest = store.bundle("basic_pitch").manifest
    tried = tuple(backends.backend(backend).tunings(Device(backend, "GPU"), 4, manifest.signature, manifest.sizes))
    assert tried == (Settings(), Settings(fixed=(("N", 1),)))[: 1 + (backend == "openvino")]


SIGNATURE = Signature(
    inputs=(TensorSpec("audio", "float32", ("N", 43844, 1)),), outputs=(TensorSpec("onsets", "float32", ("N", 172, 88)),)
)
NAMES = {"audio": "serving_default_input_2:0", "onsets": "StatefulPartitionedCall:2"}
"""Of basic-pitch."""

ASKED = Settings(
    threads=1, spinning=True, graph="basic", parallel=True, pinning=True, streams=1, hint="f32", xnnpack=False,
    fixed=(("N", 1),), resident=True,
)  # fmt: skip
OBEYED = {
    "onnx": {"threads", "spinning", "graph", "parallel", "resident"},
    "openvino": {"threads", "pinning", "streams", "hint", "fixed", "resident"},
    "tflite": {"threads", "xnnpack"},
}


ALL = {
    "onnx": Settings(threads=1, spinning=True, graph="basic", parallel=True),
    "openvino": Settings(threads=1, pinning=True, streams=1, hint="f32", fixed=(("N", 1),)),
    "tflite": Settings(threads=1, xnnpack=True),
}


def test_all_settings_at_once(engine: Engine) -> None:
    """They do not get in each other's way."""
    plain, session = (
        engine.backend.load(engine.artifact, settings=settings, signature=SIGNATURE, names=NAMES)
        for settings in (Settings(), ALL[engine.backend.name])
    )
    for windows in (1, 2):
        given = noise(SIGNATURE.inputs, windows, N=windows)
        assert same(session.run(given), plain.run(given), 1e-3)


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_what_is_not_obeyed_is_refused(engine: Engine, field: str) -> None:
    """A setting that only another backend has is an error that names it and says what this one has."""
    if field in OBEYED[engine.backend.name]:
        return
    settings = msgspec.structs.replace(Settings(), **{field: getattr(ASKED, field)})
    with pytest.raises(BackendError, match=f"{field}=.* is no setting of {engine.backend.name}; it has threads"):
        engine.backend.load(engine.artifact, settings=settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(streams=0), "streams=0"),
        (Settings(threads=1, streams=3), "NUM_STREAMS=3, and took 1"),
        (Settings(threads=999), "INFERENCE_NUM_THREADS=999"),
        (Settings(fixed=(("H", 2),)), "fixed=H: no input has such a dimension; named are N"),
        (Settings(fixed=(("N", 0),)), "fixed=N=0: give 1 or more"),
        (Settings(resident=True), "no recurrent state"),
    ],
)
def test_what_openvino_cannot_obey_is_refused(store: Store, settings: Settings, told: str) -> None:
    """What the engine would cut down, and sizes of no input, are errors."""
    with pytest.raises(BackendError, match=told):
        opened(store.bundle("basic_pitch"), "openvino", settings)


@pytest.mark.parametrize("hint", ["f32", "f16", "bf16"])
def test_types_that_the_processor_lacks(store: Store, hint: openvino_engine.Hint) -> None:
    """A type that the device does not compute in is refused; one that it has is what it computes in."""
    bundle = store.bundle("digits_cnn")
    if hint not in openvino_engine.hints("CPU"):
        with pytest.raises(BackendError, match=f"hint={hint}: openvino's CPU does not compute in it"):
            opened(bundle, "openvino", Settings(hint=hint))
        return
    given = noise(bundle.manifest.signature.inputs, 1)
    exact, found = (opened(bundle, "openvino", Settings(hint=each)).run(given) for each in ("f32", hint))
    assert same(exact, opened(bundle, "openvino").run(given))
    assert same(found, exact, 0) == (hint == "f32")


def test_onnx_refuses_to_keep_no_state(engine: Engine) -> None:
    """A model without a state has none to keep in the engine's memory."""
    if engine.backend.name == "onnx":
        with pytest.raises(BackendError, match="no recurrent state"):
            engine.backend.load(engine.artifact, settings=Settings(resident=True))


def test_onnx_passes_its_settings_on() -> None:
    """What the engine says of its session is what was asked for, and threads do not spin unless asked to."""
    ort = pytest.importorskip("onnxruntime")

    def told(settings: Settings) -> tuple[str, ...]:
        engine = onnx_file._session(ort, onnx_file.PROBE, onnx_file.CPU, settings)
        options = engine.get_session_options()
        pools = [options.get_session_config_entry(f"session.{pool}_op.allow_spinning") for pool in ("intra", "inter")]
        return (*pools, options.graph_optimization_level.name, options.execution_mode.name)

    assert told(Settings()) == ("0", "0", "ORT_ENABLE_ALL", "ORT_SEQUENTIAL")
    assert told(Settings(spinning=True)) == ("1", "1", "ORT_ENABLE_ALL", "ORT_SEQUENTIAL")
    assert told(Settings(parallel=True, graph="none")) == ("0", "0", "ORT_DISABLE_ALL", "ORT_PARALLEL")
    assert told(Settings(graph="basic"))[2] == "ORT_ENABLE_BASIC"
    assert told(Settings(graph="extended"))[2] == "ORT_ENABLE_EXTENDED"


@pytest.fixture(params=["dtln", "silero_vad", "activity_cnn_lstm"])
def recurrent(request: pytest.FixtureRequest, store: Store) -> Bundle:
    """Models with a state: four tensors with a moving window among them, one tensor, and two."""
    return store.bundle(request.param)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_resident_streams_are_explicit_ones(recurrent: Bundle, backend: str) -> None:
    """In every variant, the same outputs and states step by step, from zeros; so too after a reset, and after the state has
    moved between the two ways there and back."""
    specs = recurrent.manifest.signature.stateless_inputs
    steps = [noise(specs, seed) for seed in range(STEPS)]
    for variant in recurrent.manifest.variants:
        if variant.format not in backends.backend(backend).formats:
            continue
        resident = open_variant(recurrent, variant, backend, "CPU", Settings(threads=1, resident=True))
        explicit = open_variant(recurrent, variant, backend, "CPU", Settings(threads=1))
        with closing(resident), closing(explicit):
            one, other = resident.stream(), explicit.stream()
            assert not isinstance(one, StateStream)
            assert same(one.state, other.state, 0)
            wanted = [other.run(step) for step in steps]
            assert all(same(one.run(step), right) for step, right in zip(steps, wanted, strict=True))
            assert same(one.state, other.state)
            one.reset()
            assert same(one.run(steps[0]), wanted[0])
            there, back = explicit.stream(), resident.stream()
            there.state = one.state
            assert same(there.run(steps[1]), wanted[1])
            back.state = there.state
            assert same(back.run(steps[2]), wanted[2])
            assert same(one.run(steps[1]), wanted[1])
            assert resident.run({**steps[2], **there.state}).keys() > wanted[2].keys()


@pytest.fixture(params=["onnx", "openvino"])
def resident(request: pytest.FixtureRequest, store: Store) -> Session:
    """A session of a recurrent model whose streams keep the state in the engine's memory."""
    return opened(store.bundle("activity_cnn_lstm"), request.param, Settings(threads=1, resident=True))


def test_resident_state_and_outputs_are_the_callers(resident: Session) -> None:
    """To write into a state that was read or given, or into outputs, changes no stream, and no step changes them."""
    steps = [noise(resident.signature.stateless_inputs, seed) for seed in range(3)]
    whole, stream = resident.stream(), resident.stream()
    wanted = [whole.run(step) for step in steps]
    first = stream.run(steps[0])
    read = stream.state
    kept = {name: array.copy() for name, array in read.items()}
    stream.run(steps[1])
    assert same(first, wanted[0])
    assert same(read, kept, 0)
    stream.state = read
    for array in (*read.values(), *first.values()):
        array[:] = 100
    assert same(stream.run(steps[1]), wanted[1])
    stream.state["h"][:] = 100
    assert same(stream.run(steps[2]), wanted[2])


def test_failed_step_of_a_resident_stream_keeps_the_state(resident: Session) -> None:
    """A step of a wrong shape or dtype, and a state that is not the model's, are errors that leave the state."""
    good, stream = noise(resident.signature.stateless_inputs, 1), resident.stream()
    for before in (False, True):
        if before:
            stream.run(good)
        state = stream.state
        for wrong in (np.zeros((1, 3, 6), np.float32), np.zeros((1, 10, 6), np.int8)):
            with pytest.raises(RunError, match="CPU failed"):
                stream.run({"window": wrong})
        with pytest.raises(RunError):
            stream.run({})
        for bad in ({}, {"h": state["h"]}, {**state, "c": state["c"][:, :, 1:]}):
            with pytest.raises(InputError):
                stream.state = bad
        assert same(stream.state, state, 0)
    other = resident.stream()
    other.run(good)
    assert same(stream.run(good), other.run(good))


def test_resident_streams_of_several_threads(resident: Session) -> None:
    """Streams that run at the same time do not disturb each other, nor runs outside of streams."""

    def alone(seed: int) -> list[dict[str, Array]]:
        stream: Stream = resident.stream()
        return [stream.run(noise(resident.signature.stateless_inputs, seed + i)) for i in range(STEPS)]

    wanted = [alone(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(alone, range(4)), wanted, strict=True):
            assert all(same(one, other, 0) for one, other in zip(found, right, strict=True))


def test_resident_stream_of_a_closed_session(resident: Session) -> None:
    """It does not run, and neither does one that is made afterwards."""
    good, stream = noise(resident.signature.stateless_inputs, 1), resident.stream()
    stream.run(good)
    resident.close()
    for each in (stream, resident.stream()):
        with pytest.raises(RunError, match="closed"):
            each.run(good)


@pytest.mark.parametrize("fixed", [(("N", 1), ("H", 64), ("W", 96)), (("W", 96),)], ids=["all", "one"])
def test_other_sizes_than_the_fixed_ones(store: Store, fixed: tuple[tuple[str, int], ...]) -> None:
    """They are answered as by a model that was compiled for none, in turn with the fixed ones and after an error."""
    bundle = store.bundle("ppocr_det")
    free, session = opened(bundle, "openvino"), opened(bundle, "openvino", Settings(fixed=fixed))
    (spec,) = session.signature.inputs
    assert session.signature == bundle.manifest.signature
    for i, (count, height, width) in enumerate(((1, 64, 96), (2, 64, 96), (1, 96, 64), (1, 64, 96), (1, 96, 96))):
        given = noise((spec,), i, N=count, H=height, W=width)
        assert same(session.run(given), free.run(given), 1e-5), (count, height, width)
        for wrong in (np.zeros((1, 3, 33, 47), np.float32), np.zeros(3, np.float32)):
            with pytest.raises(RunError):
                session.run({spec.name: wrong})
    with ThreadPoolExecutor(4) as pool:
        cases = [noise((spec,), i, N=1, H=64, W=(64, 96)[i % 2]) for i in range(8)]
        for given, found in zip(cases, pool.map(session.run, cases), strict=True):
            assert same(found, free.run(given), 1e-5)
    session.close()
    with pytest.raises(RunError, match="closed"):
        session.run(noise((spec,), 0, N=1, H=64, W=64))


@pytest.mark.skipif(CORES < 2, reason="one core: one stream")
def test_streams_of_openvino(store: Store) -> None:
    """Threads that share a session of two streams get what one thread gets, failed runs and close included."""
    bundle = store.bundle("ppocr_det")
    with closing(opened(bundle, "openvino")) as plain:
        (spec,) = plain.signature.inputs
        cases = [noise((spec,), i, N=1, H=64, W=(64, 96)[i % 2]) for i in range(12)]
        wanted = [plain.run(given) for given in cases]
    session = opened(bundle, "openvino", Settings(threads=2, streams=2))
    wrong = {spec.name: np.zeros((2, 3, 33, 47), np.float32)}

    def mixed(i: int) -> dict[str, Array]:
        if i % 4 == 3:
            with pytest.raises(RunError):
                session.run(wrong)
        return session.run(cases[i])

    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(mixed, range(12)), wanted, strict=True):
            assert same(found, right, 1e-5)
        running = [pool.submit(session.run, given) for given in cases]
        session.close()
        errors = [each.exception(timeout=60) for each in running]
    assert all(error is None or (isinstance(error, RunError) and "closed" in str(error)) for error in errors)
    with pytest.raises(RunError, match="closed"):
        session.run(cases[0])
