"""Weights files that Keras saved, read layer by layer with h5py alone.

Three formats are read: `.weights.h5` of Keras 3; `.keras`, a zip that holds one; and the older
`.h5`, as keras.applications ships them. Where a layer goes in a network is left to `weights.py`.
"""

import dataclasses
import io
import re
import zipfile
from collections.abc import Iterator

import h5py
import numpy as np
from etils import epath

from jaxdrive.errors import UserError

SUFFIXES = (".weights.h5", ".keras", ".h5")

# In a `.keras` file.
_WEIGHTS = "model.weights.h5"
# What a compiled model keeps beside its layers.
_NO_LAYERS = ("optimizer",)


@dataclasses.dataclass(frozen=True)
class KerasLayer:
    """A layer that has weights.

    Attributes:
      name: As Keras called it; where a file does not tell, its class and a number.
      arrays: Its weights in the order of Keras.
    """

    name: str
    arrays: tuple[np.ndarray, ...]


def read_layers(path: epath.Path) -> list[KerasLayer]:
    """The layers of a file, those of models inside a model included.

    Layers of one class stand in the order of the model.

    Args:
      path: Of the file, which is there.

    Raises:
      UserError: The file is of another kind, or damaged.
    """
    if not path.name.endswith(SUFFIXES):
        raise UserError(
            f"{path} is no weights file that can be read here: its name has to end in"
            f" {' or '.join(SUFFIXES)}"
        )
    try:
        content = path.read_bytes()
        if path.suffix == ".keras":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(_WEIGHTS)
        with h5py.File(io.BytesIO(content), "r") as file:
            root = file.get("model_weights", file)
            older = any(name.startswith("layer_names") for name in root.attrs)
            layers = list(_older_layers(root) if older else _layers(file))
    except Exception as error:  # h5py and zipfile raise all kinds for damage.
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be read as weights that Keras saved ({told}): it is damaged, or"
            " something else. Save or download it anew"
        ) from error
    # Random generators of dropout layers are kept as weights too.
    layers = [layer for layer in layers if all(a.dtype.kind == "f" for a in layer.arrays)]
    for layer in layers:
        if not all(np.isfinite(array).all() for array in layer.arrays):
            raise UserError(f"{path} has weights that are not finite, in layer {layer.name}")
    return layers


def _layers(file: h5py.File) -> Iterator[KerasLayer]:
    """Of a file of Keras 3: a group "vars" for every layer, datasets "0", "1", ... in it."""
    groups: list[str] = []
    file.visit(lambda path: groups.append(path) if path.split("/")[-1] == "vars" else None)
    for path in sorted(groups, key=_natural):
        group, parts = file[path], path.split("/")
        if len(group) and parts[0] not in _NO_LAYERS:
            # Versions before 3.6 keep no names.
            name = group.attrs.get("name", parts[-2] if len(parts) > 1 else "model")
            arrays = (np.asarray(group[key]) for key in sorted(group, key=int))
            yield KerasLayer(str(name), tuple(arrays))


def _natural(path: str) -> list[str | int]:
    """Sorts conv2d_2 before conv2d_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path)]


def _older_layers(root: h5py.Group) -> Iterator[KerasLayer]:
    """Of the older format: layers and their weights are listed in attributes."""
    for name in _listed(root, "layer_names"):
        group = root[name]
        weights = _listed(group, "weight_names")
        owners = [weight.rpartition("/")[0] for weight in weights]
        # A model inside the model lists all its layers' weights.
        inside = len(set(owners)) > 1
        for owner in dict.fromkeys(owners):
            arrays = (
                np.asarray(group[w]) for w, o in zip(weights, owners, strict=True) if o == owner
            )
            yield KerasLayer(owner.rpartition("/")[2] if inside else name, tuple(arrays))


def _listed(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute, which long ones divide among several."""
    chunks = [name for name in group.attrs if re.fullmatch(rf"{attribute}\d*", name)]
    names = [name for chunk in sorted(chunks, key=_natural) for name in group.attrs[chunk]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
