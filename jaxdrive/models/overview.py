"""What a network consists of, layer by layer: its shapes and its parameters, computing nothing.

The table goes to the folder of a run, and the picture is drawn from the stages (evaluation/
architecture.py). Names are those of the parameters in checkpoints.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jaxdrive.models.multihead import MultiHead

Path = tuple[str, ...]

# Deeper modules are counted with the one above: a separable convolution is one layer.
_DEPTH = 3


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer, or several after one another that the picture shows as one stage.

    Attributes:
      part: "backbone", "common", or the head that it belongs to.
      name: Where its parameters stand in a checkpoint, such as "backbone/block2/sepconv1".
      kind: What it is, such as "SeparableConv 3x3".
      output: Shape of what comes out for one example.
      trainable: Number of its trainable parameters.
      statistics: Number of its moving averages, which batches move and no gradient.
    """

    part: str
    name: str
    kind: str
    output: tuple[int, ...]
    trainable: int
    statistics: int


def overview(
    model: MultiHead, *, image_shape: tuple[int, int, int], scalars: Sequence[str]
) -> dict[str, Any]:
    """Describes a network, as JSON can hold it.

    Args:
      model: The network.
      image_shape: (height, width, channels) of its pictures.
      scalars: Names of its scalar inputs.

    Returns:
      {"backbone": its class, "inputs": {name: shape}, "features": shape of the backbone's output,
      "dropout": the share of it that training drops, "layers": every layer with parameters,
      "stages": the same, a block of the backbone as one; "heads": names, "total": {"trainable",
      "statistics"}}. Layers and stages are dicts of the fields of `Layer`, in the order of the
      computation.
    """
    inputs = {"image": jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)}
    inputs |= {name: jax.ShapeDtypeStruct((1,), jnp.float32) for name in scalars}
    kinds, outputs, variables = _trace(model, inputs)
    layers = list(_layers(kinds, outputs, variables))
    return {
        "backbone": kinds[("backbone",)],
        "inputs": {name: value.shape[1:] for name, value in inputs.items()},
        "features": outputs[("backbone",)],
        "dropout": model.dropout,
        "layers": [dataclasses.asdict(layer) for layer in layers],
        "stages": [dataclasses.asdict(stage) for stage in _stages(layers, outputs)],
        "heads": list(model.heads),
        "total": {
            "trainable": sum(layer.trainable for layer in layers),
            "statistics": sum(layer.statistics for layer in layers),
        },
    }


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines of text: every layer of an `overview`, and the totals."""
    rows = [
        (
            layer["name"],
            layer["kind"],
            " x ".join(map(str, layer["output"])),
            f"{layer['trainable']:,}",
            f"{layer['statistics']:,}",
        )
        for layer in found["layers"]
    ]
    head = ("name", "layer", "output", "trainable", "statistics")
    total = found["total"]
    foot = ("total", "", "", f"{total['trainable']:,}", f"{total['statistics']:,}")
    widths = [max(map(len, column)) for column in zip(head, *rows, foot, strict=True)]

    def line(cells: Sequence[str]) -> str:
        texts = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
        return "  ".join([*texts, *numbers])

    rule = "-" * len(line(head))
    return [line(head), rule, *map(line, rows), rule, line(foot)]


def _trace(
    model: nn.Module, inputs: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[dict[Path, str], dict[Path, Any], Any]:
    """By path of each module in the order of calls: its class and its output; the variables."""
    kinds: dict[Path, str] = {}
    outputs: dict[Path, Any] = {}

    def note(call: Any, arguments: Any, named: Any, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        kinds.setdefault(module.path, type(module).__name__)
        output = call(*arguments, **named)
        # One picture goes in, so the rest of the shape is that of an example.
        outputs[module.path] = getattr(output, "shape", (1,))[1:]
        return output

    with nn.intercept_methods(note):
        variables = jax.eval_shape(
            lambda key, inputs: model.init(key, inputs, train=False), jax.random.key(0), inputs
        )
    return kinds, outputs, variables


def _layers(
    kinds: Mapping[Path, str], outputs: Mapping[Path, Any], variables: Mapping[str, Any]
) -> Iterator[Layer]:
    shapes = {
        collection: {path: leaf.shape for path, leaf in flatten_dict(tree).items()}
        for collection, tree in variables.items()
    }
    with_parameters = {path[:-1][:_DEPTH] for tree in shapes.values() for path in tree}
    for path, kind in kinds.items():
        if path not in with_parameters:
            continue
        own = {
            collection: [shape for place, shape in tree.items() if place[: len(path)] == path]
            for collection, tree in shapes.items()
        }
        windows = [shape[:2] for shape in own["params"] if len(shape) == 4]
        window = max(windows, default=())
        yield Layer(
            part=path[0] if path[0] == "backbone" else path[0].rpartition("_")[0],
            name="/".join(path),
            kind=" ".join([kind, *(["x".join(map(str, window))] if window else [])]),
            output=outputs[path],
            trainable=sum(map(math.prod, own["params"])),
            statistics=sum(map(math.prod, own.get("batch_stats", []))),
        )


def _stages(layers: Sequence[Layer], outputs: Mapping[Path, Any]) -> Iterator[Layer]:
    """Layers as the picture shows them: blocks as one, and with normalisations after a layer."""
    groups: list[list[Layer]] = []
    for layer in layers:
        within_block = groups and _block(layer) == _block(groups[-1][0])
        if within_block or (groups and layer.kind == "BatchNorm"):
            groups[-1].append(layer)
        else:
            groups.append([layer])
    for group in groups:
        main = [layer.kind for layer in group if layer.kind != "BatchNorm"]
        counts = [(kind, len(list(same))) for kind, same in itertools.groupby(main)]
        path = _block(group[0])
        yield Layer(
            part=group[0].part,
            name="/".join(path),
            kind=" + ".join(f"{count} {kind}" if count > 1 else kind for kind, count in counts),
            output=outputs[path],
            trainable=sum(layer.trainable for layer in group),
            statistics=sum(layer.statistics for layer in group),
        )


def _block(layer: Layer) -> Path:
    return tuple(layer.name.split("/")[:2])


def feature_bytes(
    model: MultiHead, variables: Any, *, image_shape: tuple[int, int, int], scalars: Sequence[str]
) -> int:
    """Size of the results of all layers for one example, in bytes.

    Args:
      model: The network.
      variables: {"params", "batch_stats"}, arrays or their shapes.
      image_shape: (height, width, channels) of its images.
      scalars: Names of its scalar inputs.
    """
    inputs = {"image": jnp.zeros((1, *image_shape), jnp.uint8)} | {
        name: jnp.zeros(1, jnp.float32) for name in scalars
    }

    def results(variables: Any) -> Any:
        _, found = model.apply(
            variables, inputs, train=False, capture_intermediates=True, mutable=["intermediates"]
        )
        return found

    leaves = jax.tree.leaves(jax.eval_shape(results, variables))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
