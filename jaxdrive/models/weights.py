"""Weights that a new network starts from: what they are called here, what fits, what is told.

Files that Keras saved are given the names of ours; checkpoints of ours, which have them already,
are read in `training/initial.py`. A name is that of the layer, as in `model.txt`, and of the array:
"backbone/block2/sepconv1_bn/mean".

Layers of Xception go by the names of keras.applications, dense layers by the names of ours:
"common_0", "steering_0", "steering_output". Layers that Keras named by itself ("conv2d_1"), such as
Xception's residual convolutions, go by their order.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdrive.errors import UserError
from jaxdrive.models.keras_file import KerasLayer, read_layers
from jaxdrive.models.xception import BLOCKS

# The classifier of keras.applications, which no network here has.
_CLASSIFIER = "predictions"
_SHOWN = 20

# By the ranks of a Keras layer's arrays: what it is, and what the arrays are called here.
_KINDS: dict[tuple[int, ...], tuple[str, tuple[str, ...]]] = {
    (4,): ("conv", ("kernel",)),
    (4, 4): ("sepconv", ("depthwise/kernel", "pointwise/kernel")),
    (1, 1, 1, 1): ("bn", ("scale", "bias", "mean", "variance")),
    (4, 1): ("biased conv", ("kernel", "bias")),
    (2, 1): ("dense", ("kernel", "bias")),
    (2,): ("dense", ("kernel",)),
}

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What of given weights a network takes.

    Attributes:
      where: The file or checkpoint that they are from.
      loaded: Arrays by name.
      left: Shapes of what the network has and was not given, by name.
      skipped: Shapes of what was given and not wanted, by name.
    """

    where: str
    loaded: Mapping[str, np.ndarray]
    left: Mapping[str, Shape]
    skipped: Mapping[str, Shape]


def names_of(params: Any, batch_stats: Any) -> dict[str, Any]:
    """The arrays of a network by name, parameters and moving averages together."""
    return flatten_dict(params, sep="/") | flatten_dict(batch_stats, sep="/")


def place(loaded: Mapping[str, np.ndarray], tree: Any) -> Any:
    """A tree of parameters or moving averages with the loaded ones in place, in its dtypes."""
    flat = flatten_dict(tree, sep="/")
    placed = {n: np.asarray(loaded[n], a.dtype) if n in loaded else a for n, a in flat.items()}
    return unflatten_dict(placed, sep="/")


def read_keras(path: epath.Path) -> dict[str, np.ndarray]:
    """The weights in a file that Keras saved, by name.

    A layer with no place in Xception keeps its own name: "NAME/..." where it is dense, else
    "backbone/NAME/...".

    Raises:
      UserError: The file cannot be read.
    """
    found: dict[str, np.ndarray] = {}
    for layer in _published(read_layers(path)):
        ranks = tuple(array.ndim for array in layer.arrays)
        kind, leaves = _KINDS.get(ranks, ("", tuple(map(str, range(len(ranks))))))
        folder = layer.name if kind == "dense" else f"backbone/{layer.name}"
        if match := re.fullmatch(r"(block\d+)_(\w+)", layer.name):
            folder = f"backbone/{match[1]}/{match[2]}"
        for leaf, array in zip(leaves, layer.arrays, strict=True):
            # Keras has the one output of each channel last, Flax the one input first.
            depthwise = leaf == "depthwise/kernel"
            if f"{folder}/{leaf}" in found:
                raise UserError(f"{path} has two layers named {layer.name}: save one network alone")
            found[f"{folder}/{leaf}"] = array.swapaxes(2, 3) if depthwise else array
    return found


def _published(layers: list[KerasLayer]) -> Iterator[KerasLayer]:
    """Gives layers that Keras named by itself the names of ours, by their order."""
    there = {layer.name for layer in layers}
    names = {
        kind: [n for n in _names(kind) if n not in there] for kind in ("conv", "sepconv", "bn")
    }
    unnamed: dict[str, list[KerasLayer]] = {kind: [] for kind in names}
    for layer in layers:
        kind, _ = _KINDS.get(tuple(array.ndim for array in layer.arrays), ("", ()))
        if kind in unnamed and not re.match(r"block\d+_", layer.name):
            unnamed[kind].append(layer)
        else:
            yield layer
    for kind, strangers in unnamed.items():
        # In another number they are not those that lack a name.
        if len(strangers) == len(names[kind]):
            for layer, name in zip(strangers, names[kind], strict=True):
                yield dataclasses.replace(layer, name=name)
        else:
            yield from strangers


def _names(kind: str) -> list[str]:
    """Xception's layers of a kind in the order of Keras, residual ones at the end of a block."""
    convolutions = ["block1_conv1", "block1_conv2"]
    for block, (channels, end) in BLOCKS.items():
        convolutions += [f"{block}_sepconv{number}" for number, _ in enumerate(channels, start=1)]
        convolutions += [f"{block}_shortcut"] * (end == "halved")
    if kind == "bn":
        return [f"{name}_bn" for name in convolutions]
    return [name for name in convolutions if ("sepconv" in name) == (kind == "sepconv")]


def choose(
    found: Mapping[str, np.ndarray], wanted: Mapping[str, Shape], *, part: str, where: str
) -> Chosen:
    """Finds what of `found` a network takes.

    The backbone has to be there whole. Of the common part and the heads, what is not there is left.

    Args:
      found: Arrays by name.
      wanted: Shapes of the network's arrays by name.
      part: What of them is wanted: "backbone", or "all", the common part and the heads too.
      where: The file or checkpoint, for messages.

    Raises:
      UserError: Something has another shape, is unknown to the network, or is missing.
    """
    shapes = {name: np.shape(array) for name, array in found.items()}
    skipped = {
        n: s for n, s in shapes.items() if n.startswith(f"{_CLASSIFIER}/") or not _in(part, n)
    }
    fitting = {name: shape for name, shape in shapes.items() if name not in skipped}
    expected = {name: shape for name, shape in wanted.items() if _in(part, name)}
    strange = {n: s for n, s in fitting.items() if expected.get(n) != s}
    without = {
        n: s
        for n, s in expected.items()
        if fitting.get(n) != s and (n in fitting or _in("backbone", n))
    }
    if strange or without:
        raise UserError(
            f"the weights in {where} are of another network (config.init_part={part!r}):\n"
            f"{_listing('there, without a place here', strange)}\n"
            f"{_listing('here, not found there', without)}\n"
            "Use the configuration of the network that they were saved from"
            + (', or its backbone alone, --config.init_part="backbone"' if part == "all" else "")
        )
    return Chosen(
        where=where,
        loaded={name: found[name] for name in fitting},
        left={name: shape for name, shape in wanted.items() if name not in fitting},
        skipped=skipped,
    )


def _in(part: str, name: str) -> bool:
    return part == "all" or name.startswith("backbone/")


def _listing(title: str, shapes: Mapping[str, Shape]) -> str:
    lines = [f"    {name} {list(shape)}" for name, shape in shapes.items()]
    hidden = len(lines) - _SHOWN
    more = [f"    and {hidden} more"] if hidden > 0 else []
    return "\n".join([f"  {title}: {len(lines)}", *lines[:_SHOWN], *more])


def describe(chosen: Chosen) -> list[str]:
    """Lines of text: from where, and what was loaded, left and skipped, each counted."""
    loaded = {name: array.shape for name, array in chosen.loaded.items()}
    return [
        f"Weights from {chosen.where}:",
        _count("loaded", loaded),
        _count("left as drawn at random", chosen.left),
        _count("skipped", chosen.skipped),
    ]


def _count(title: str, shapes: Mapping[str, Shape]) -> str:
    layers = ", ".join(dict.fromkeys(name.split("/")[0] for name in shapes)) or "nothing"
    numbers = sum(map(math.prod, shapes.values()))
    return f"  {title}: {layers} ({len(shapes)} arrays, {numbers:,} numbers)"
