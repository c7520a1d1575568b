"""Cards: what is known of each model, as values in `card.json`, and as the pages that people read.

A model's README.md is made of its recipe, its card and the prose in its `notes.md`; models/README.md lists all of them.
`python -m models.cards` writes them anew after a change of the prose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from edge_runtime.bench.report import Report
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Accuracy, Variant
from edge_runtime.errors import BundleError
from edge_runtime.optimize import Trial
from edge_runtime.signature import TensorSpec
from models import recipe as recipes
from models.recipe import Recipe

CARD, PAGE, NOTES, PICTURES = "card.json", "README.md", "notes.md", "pictures.png"


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The median of a call, warm, on one engine."""

    engine: str
    seconds: float


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant that was let in."""

    name: str
    format: str
    precision: str
    size: int
    """Bytes, of all its files."""
    accuracy: Accuracy | None
    tolerance: float | None
    latency: tuple[Latency, ...] = ()


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant that was not, and why: its figures, or the tool's own words."""

    name: str
    reason: str


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was found when the model was last built."""

    name: str
    version: str
    rows: tuple[Row, ...]
    refused: tuple[Refusal, ...] = ()
    parameters: int | None = None
    """Numbers that were trained here; None for a net that came trained."""
    training: float | None = None
    """Seconds."""
    machine: str = ""
    """What the latencies were measured on."""

    @property
    def accuracy(self) -> Accuracy | None:
        """fp32's: of the variant that all others are held against."""
        first = self.rows[0]
        return first.accuracy if first.precision == "fp32" else None

    @property
    def fastest(self) -> tuple[Row, Latency] | None:
        """The variant and engine with the lowest median."""
        known = [(row, latency) for row in self.rows for latency in row.latency]
        return min(known, key=lambda pair: pair[1].seconds, default=None)


def card_of(
    bundle: Bundle, trials: Iterable[Trial], missing: Iterable[Refusal], report: Report | None, *,
    parameters: int | None = None, training: float | None = None,
) -> Card:  # fmt: skip
    """The card of a bundle as it was built: its variants as measured in `report`, what `optimize` refused, and what could
    not be made at all."""
    manifest = bundle.manifest
    refused = [Refusal(trial.variant, _reason(trial)) for trial in trials if not trial.admitted]
    return Card(
        manifest.name, manifest.version, tuple(_row(variant, report) for variant in manifest.variants),
        (*refused, *missing), parameters, None if training is None else round(training, 1),
        "" if report is None else report.fingerprint.cpu,
    )  # fmt: skip


def load(name: str) -> Card | None:
    """The committed card of a model; None if it has none yet. Raises BundleError for one that cannot be read."""
    path = recipes.HERE / name / CARD
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error


def encode(card: Card) -> bytes:
    """The card as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"


def page(recipe: Recipe, card: Card, folder: Path) -> str:
    """The model's README.md. `folder` holds its notes, and its pictures if it has any."""
    notes = (folder / NOTES).read_text("utf-8").strip()
    parts = [f"# {recipe.name}: {recipe.task}", notes, _facts(recipe, card), _tensors(recipe), _variants(card)]
    if (folder / PICTURES).is_file():
        parts.append(f"![what it makes]({PICTURES})")
    if card.refused:
        parts.append("**Not in the bundle**\n\n" + "\n".join(f"- {row.name}: {_cell(row.reason)}" for row in card.refused))
    parts.append(
        "This page is generated (`make zoo`) from recipe.toml, card.json and notes.md. "
        "Latencies are medians of warm calls on " + (card.machine or "one machine") + ", batch 1."
    )
    return "\n\n".join(parts) + "\n"


def pages() -> dict[Path, str]:
    """Every generated page, of what is committed."""
    known = [(recipes.load(name), card) for name in recipes.names() if (card := load(name)) is not None]
    own = {recipes.HERE / recipe.name / PAGE: page(recipe, card, recipes.HERE / recipe.name) for recipe, card in known}
    return own | {recipes.HERE / PAGE: index(known)}


def write_pages() -> None:
    """Write them."""
    for path, text in pages().items():
        path.write_text(text, "utf-8")


def index(rows: Sequence[tuple[Recipe, Card]]) -> str:
    """models/README.md."""
    head = ("model", "kind of network", "what it does", "fp32", "variants", "smallest", "fastest call")
    lines = [_line(head), _line("---" for _ in head)]
    for recipe, card in rows:
        smallest = min(card.rows, key=lambda row: row.size)
        fastest = card.fastest
        lines.append(_line((
            f"[{recipe.name}]({recipe.name}/)", recipe.network, recipe.task, _told(card.accuracy), len(card.rows),
            f"{smallest.name}, {_bytes(smallest.size)}",
            "" if fastest is None else f"{_time(fastest[1].seconds)}: {fastest[0].name} on {fastest[1].engine}",
        )))  # fmt: skip
    return INTRODUCTION + "\n".join(lines) + "\n" + OUTRO


INTRODUCTION = """\
# The zoo

Every kind of network that this field's texts teach, on real data, in every format that the engines take. int8 is let in
only where it was measured, on data that was neither trained nor calibrated with, to lose a point of accuracy at most; each
model's page has the figures, and says what was refused and why. Of a pair (`partner`) the light net runs on the device and
the heavy one, which was trained on the same data, answers from the cloud.

"""
OUTRO = """
Trained models lie in their folders as bundles: `edge-runtime run models/digits_cnn/bundle --input digit.png`. The others
are built from the packages that carry them (`make store`). `make zoo` makes all of them anew, from nothing.

This page is generated (`make zoo`).
"""


def _reason(trial: Trial) -> str:
    if trial.trouble:
        return trial.trouble
    return "; ".join(str(verdict) for verdict in trial.verdicts if not verdict.admitted)


def _row(variant: Variant, report: Report | None) -> Row:
    entries = () if report is None else report.entries
    latency = tuple(
        Latency(entry.engine, float(f"{entry.percentiles[0].value:.3g}"))
        for entry in entries
        if entry.variant == variant.name and entry.error is None and entry.percentiles
    )
    size = sum(file.size for file in variant.files)
    return Row(variant.name, variant.format, variant.precision, size, variant.accuracy, variant.tolerance, latency)


def _facts(recipe: Recipe, card: Card) -> str:
    rows = [("network", recipe.network), ("data", recipe.data), ("licence", recipe.licence)]
    rows.append(("carried by", f"{recipe.source.package} {recipe.source.version}"))
    if card.parameters is not None:
        rows.append(("trained", f"{card.parameters:,} parameters in {card.training:.0f} s"))
    if recipe.partner is not None and recipe.partner != recipe.name:
        rows.append(("partner", f"[{recipe.partner}](../{recipe.partner}/), which answers the same from the cloud"))
    return "\n".join([_line(("", "")), _line(("---", "---")), *(_line(row) for row in rows if row[1])])


def _tensors(recipe: Recipe) -> str:
    head = [_line(("tensor", "", "shape")), _line(("---", "---", "---"))]
    signature = recipe.signature
    pairs = {pair.output: pair.input for pair in signature.state}

    def told(role: str, spec: TensorSpec) -> str:
        back = f", comes back as {pairs[spec.name]}" if role == "out" and spec.name in pairs else ""
        return _line((spec.name, role, f"{spec.dtype} [{', '.join(map(str, spec.shape))}]{back}"))

    rows = [told("in", spec) for spec in signature.inputs] + [told("out", spec) for spec in signature.outputs]
    return "\n".join(head + rows)


def _variants(card: Card) -> str:
    measured = next((row.accuracy for row in card.rows if row.accuracy), None)
    head = ("variant", "size", "accuracy", "within", "median of a call")
    lines = [_line(head), _line("---" for _ in head)]
    for row in card.rows:
        times = ", ".join(f"{latency.engine} {_time(latency.seconds)}" for latency in row.latency)
        within = "" if row.tolerance is None else f"{row.tolerance:.2g}"
        lines.append(_line((row.name, _bytes(row.size), _figure(row.accuracy), within, times)))
    told = "" if measured is None else f"Accuracy: {_metric(measured.metric)}on {measured.data}. "
    return (
        "\n".join(lines)
        + f"\n\n{told}Within: how far the outputs may be from fp32's on golden inputs (root mean square, relative)."
    )


def _told(accuracy: Accuracy | None) -> str:
    named = "" if accuracy is None or accuracy.metric == "accuracy" else f" ({accuracy.metric})"
    return _figure(accuracy) + named


def _metric(name: str) -> str:
    return "" if name == "accuracy" else f"{name}, "


def _figure(accuracy: Accuracy | None) -> str:
    return "" if accuracy is None else f"{accuracy.value:.4g}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


if __name__ == "__main__":
    write_pages()
