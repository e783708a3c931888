"""The picture of a network: boxes from the input down to the outputs, as model.json describes it.

Pure like plots.py, whose style it shares: an overview in (see models/overview.py), one matplotlib
figure out.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from jaxdrive.evaluation.plots import GREY, INK, RUN_COLOUR, head_colours, style

# Inches, which are the units of the axes.
_WIDTH = 8.4
_HEAD_WIDTH = 2.2
_BOX = 0.36
_STEP = 0.56  # from one box to the next
_MARGIN = 0.3

_SMALL = 8.0
_SOFT = "#5A626B"
_WASH = "#F4F6F8"

Stage = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a box stands: its left edge, its middle's height, its width."""

    left: float
    y: float
    width: float = _WIDTH

    @property
    def middle(self) -> float:
        return self.left + self.width / 2

    @property
    def right(self) -> float:
        return self.left + self.width


def architecture(overview: Mapping[str, Any]) -> Figure:
    """Draws the network of an overview, alike stages that follow one another as one box."""
    parts = {
        part: _merged([stage for stage in overview["stages"] if stage["part"] == part])
        for part in ("backbone", "common", *overview["heads"])
    }
    width = max(_WIDTH, _HEAD_WIDTH * len(overview["heads"]))
    deepest = max(len(parts[head]) for head in overview["heads"])
    rows = 1 + len(parts["backbone"]) + 1 + len(parts["common"]) + deepest + 1
    height = (rows + 2.1) * _STEP + 2 * _MARGIN
    figure = Figure(figsize=(width + 2 * _MARGIN, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-_MARGIN, width + _MARGIN)
    axes.set_ylim(-height, 0)
    axes.set_axis_off()
    left = (width - _WIDTH) / 2
    place = _inputs(axes, overview, left)
    place = _backbone(axes, overview, parts["backbone"], place)
    place = _common(axes, overview, parts["common"], place)
    for column, (head, colour) in enumerate(head_colours(overview["heads"]).items()):
        share = width / len(overview["heads"])
        first = _Place(column * share + 0.1, place.y - 1.5 * _STEP, share - 0.2)
        _head(axes, head, colour, parts[head], place, first)
    total = overview["total"]
    text = _parameters(total)
    if total["statistics"]:
        text += f" = {sum(total.values()):,} in all"
    axes.text(width / 2, -height + _MARGIN, text, ha="center", weight="bold", color=INK)
    return figure


def architecture_png(overview: Mapping[str, Any]) -> bytes:
    """The picture as a PNG file, 1,260 pixels wide for up to three heads."""
    buffer = io.BytesIO()
    with style():
        architecture(overview).savefig(buffer, format="png", dpi=140)
    return buffer.getvalue()


def _merged(stages: Sequence[Stage]) -> list[tuple[Stage, str]]:
    """(stage, its name); stages that only differ in their names are one, with all their numbers."""

    def looks(stage: Stage) -> Stage:
        return {field: value for field, value in stage.items() if field != "name"}

    merged: list[tuple[Stage, str]] = []
    for _, alike in itertools.groupby(stages, key=looks):
        first, *others = alike
        name = first["name"].split("/")[-1]
        together: dict[str, Any] = dict(first)
        for other in others:
            together |= {key: together[key] + other[key] for key in ("trainable", "statistics")}
        if others:
            name += f" to {others[-1]['name'].split('/')[-1]}"
            together["kind"] = f"{len(others) + 1} x {first['kind']}"
        merged.append((together, name))
    return merged


def _inputs(axes: Axes, overview: Mapping[str, Any], left: float) -> _Place:
    place = _Place(left, -_MARGIN - _STEP / 2)
    _box(axes, place, "white", GREY)
    _cells(axes, place, "image", "uint8, brought to -1 to 1", overview["inputs"]["image"], "")
    return place


def _backbone(
    axes: Axes, overview: Mapping[str, Any], stages: Sequence[tuple[Stage, str]], above: _Place
) -> _Place:
    """A frame with the name of the backbone and its stages in it; returns the last stage."""
    top = above.y - _STEP
    bottom = top - (len(stages) + 0.35) * _STEP
    frame = FancyBboxPatch(
        (above.left - 0.12, bottom),
        above.width + 0.24,
        top - bottom + 0.1,
        boxstyle="round,pad=0,rounding_size=0.12",
        facecolor=_WASH,
        edgecolor="none",
        zorder=0,
    )
    axes.add_patch(frame)
    trainable, statistics = (
        sum(stage[name] for stage, _ in stages) for name in ("trainable", "statistics")
    )
    axes.text(
        above.left + 0.1,
        top - 0.1,
        overview["backbone"],
        weight="bold",
        color=RUN_COLOUR,
        va="center",
    )
    counts = _parameters({"trainable": trainable, "statistics": statistics})
    axes.text(
        above.right - 0.1, top - 0.1, counts, color=_SOFT, fontsize=_SMALL, ha="right", va="center"
    )
    place = above
    for number, (stage, name) in enumerate(stages):
        below = _Place(above.left, top - (number + 0.75) * _STEP)
        _arrow(axes, place, below)
        _box(axes, below, "white", RUN_COLOUR)
        _cells(axes, below, name, stage["kind"], stage["output"], _parameters(stage))
        place = below
    return place


def _common(
    axes: Axes, overview: Mapping[str, Any], stages: Sequence[tuple[Stage, str]], above: _Place
) -> _Place:
    """Features, joined by the scalar inputs, and the common layers; returns the last of them."""
    scalars = [name for name in overview["inputs"] if name != "image"]
    place = dataclasses.replace(above, y=above.y - 1.35 * _STEP)
    _arrow(axes, above, place)
    _box(axes, place, "white", GREY)
    # Runs that were made before there was any say nothing of it.
    share = overview.get("dropout", 0)
    dropped = f"{share:.0%} dropped in training" if share else ""
    joined = f"joined by {', '.join(scalars)}" if scalars else ""
    told = ", ".join(filter(None, (dropped, joined)))
    output = [overview["features"][0] + len(scalars)]
    _cells(axes, place, "features", told, output, "")
    for stage, name in stages:
        below = dataclasses.replace(place, y=place.y - _STEP)
        _arrow(axes, place, below)
        _box(axes, below, RUN_COLOUR, RUN_COLOUR)
        _cells(
            axes, below, name, stage["kind"], stage["output"], _parameters(stage), colour="white"
        )
        place = below
    return place


def _head(
    axes: Axes,
    head: str,
    colour: str,
    stages: Sequence[tuple[Stage, str]],
    above: _Place,
    place: _Place,
) -> None:
    """One column: the layers of a head, and its name in its colour at the end."""
    start = _Place(place.middle, above.y, 0)
    for stage, _ in stages:
        _arrow(axes, start, place)
        _box(axes, place, "white", colour)
        text = f"{stage['kind']} {_shape(stage['output'])}"
        axes.text(place.left + 0.1, place.y, text, va="center", color=INK)
        axes.text(
            place.right - 0.1,
            place.y,
            f"{stage['trainable']:,}",
            va="center",
            ha="right",
            color=_SOFT,
            fontsize=_SMALL,
        )
        start, place = place, dataclasses.replace(place, y=place.y - _STEP)
    _arrow(axes, start, place)
    _box(axes, place, colour, colour)
    axes.text(place.middle, place.y, head, ha="center", va="center", color="white", weight="bold")


def _box(axes: Axes, place: _Place, face: str, edge: str) -> None:
    box = FancyBboxPatch(
        (place.left, place.y - _BOX / 2),
        place.width,
        _BOX,
        boxstyle="round,pad=0,rounding_size=0.07",
        facecolor=face,
        edgecolor=edge,
        linewidth=1.1,
    )
    axes.add_patch(box)


def _cells(
    axes: Axes,
    place: _Place,
    name: str,
    kind: str,
    output: Sequence[int],
    parameters: str,
    *,
    colour: str = INK,
) -> None:
    """The four texts of a wide box: name, kind, shape of what comes out, parameters."""
    soft = _SOFT if colour == INK else colour
    for x, text, look in (
        (place.left + 0.1, name, {"weight": "bold", "color": colour}),
        (place.left + 1.75, kind, {"color": soft, "fontsize": _SMALL}),
        (place.left + 5.85, _shape(output), {"color": colour, "ha": "right"}),
        (place.right - 0.1, parameters, {"color": soft, "fontsize": _SMALL, "ha": "right"}),
    ):
        axes.text(x, place.y, text, va="center", **look)


def _arrow(axes: Axes, start: _Place, end: _Place) -> None:
    axes.annotate(
        "",
        xy=(end.middle, end.y + _BOX / 2),
        xytext=(start.middle, start.y - _BOX / 2),
        arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0},
    )


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _parameters(counts: Mapping[str, Any]) -> str:
    """As "19,488 trainable + 192 statistics"; statistics only where there are some."""
    trainable, statistics = counts["trainable"], counts["statistics"]
    return f"{trainable:,} trainable" + (f" + {statistics:,} statistics" if statistics else "")
