"""What one output of the network is: its label, its range, its bins. Data, not code.

A head reads one recorded label (steering, say), scales it to its own range (the *target*, which the
network learns) and scales the network's answer back to a *control*. What a camera beside the
centre line or a mirrored picture changes in a label is said here too. Bins divide the range of the
target; balancing draws by them and evaluation reports by them, so both share the functions here.
How a head is computed stands in `models/`, how it is scored in `training/`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdrive.errors import UserError

# Where each camera of a car stands when the picture is mirrored.
MIRRORED_CAMERAS = {"left": "right", "right": "left"}


@dataclasses.dataclass(frozen=True)
class Bins:
    """A division of a target's range.

    Attributes:
      edges: Ascending borders, the ends of the range included.
      atoms: Those edges that are a bin of their own (exactly 0.0, exactly 1.0). An edge that is no
        atom belongs to the interval on its side towards zero, so that the bins of -y mirror those
        of y (0 itself, to the one above); the ends of the range belong to their only interval.
    """

    edges: tuple[float, ...]
    atoms: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or any(
            a >= b for a, b in zip(self.edges, self.edges[1:], strict=False)
        ):
            raise UserError(f"bins need at least two ascending edges, found {self.edges}")
        strangers = set(self.atoms) - set(self.edges)
        if strangers:
            raise UserError(f"bins: the exact values {sorted(strangers)} are not among the edges")

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of every bin in ascending order; low equals high where the bin is an atom."""
        spans = []
        for index, edge in enumerate(self.edges):
            if index:
                spans.append((self.edges[index - 1], edge))
            if edge in self.atoms:
                spans.append((edge, edge))
        return tuple(spans)

    @functools.cached_property
    def lookup(self) -> np.ndarray:
        """The bin by rank code: int64 [2 * edges + 1].

        The code of a value is the sum of its left and right ranks among the edges: odd on an edge,
        even between two, so that both cases are one look-up, on the host and on a device.
        """
        spans = list(self.spans)
        table = np.zeros(2 * len(self.edges) + 1, np.int64)
        for rank, edge in enumerate(self.edges):
            below = spans.index((self.edges[rank - 1], edge)) if rank else None
            inner = rank + 1 < len(self.edges)
            above = spans.index((edge, self.edges[rank + 1])) if inner else None
            owner = below if above is None or (below is not None and edge > 0) else above
            if edge in self.atoms:
                owner = spans.index((edge, edge))
            assert owner is not None  # There are at least two edges, so one side is an interval.
            table[2 * rank + 1] = owner
            if above is not None:
                table[2 * rank + 2] = above
        table[0], table[-1] = table[1], table[-2]
        return table

    def __len__(self) -> int:
        return len(self.spans)


def bin_index(bins: Bins, targets: np.ndarray) -> np.ndarray:
    """The bin of every target: int64, same shape.

    Targets outside the range fall into the first or the last bin. Comparisons are made in float32,
    in which targets are kept, so that every user of a target finds the same bin.
    """
    edges = np.asarray(bins.edges, np.float32)
    targets = np.clip(np.asarray(targets, np.float32), edges[0], edges[-1])
    left, right = (np.searchsorted(edges, targets, side=side) for side in ("left", "right"))
    return bins.lookup[left + right]


@dataclasses.dataclass(frozen=True)
class Head:
    """One output of the network.

    Attributes:
      name: The head's name, and the control's (steering, throttle, brake).
      label: The recorded label it learns.
      scale: Largest absolute value of the label that occurs; target = label / scale.
      low: Lower end of the target's range.
      high: Upper end of the target's range.
      bins: Division of [low, high] for balancing and for reports.
      unit: Unit of the label, for axes and tables.
      mirror: What a mirrored picture makes of the label: its factor, -1 or 1.
      corrections: By camera ("left", "right"), what is added to the label where that camera saw the
        frame: a car that stood where the left camera is would steer to the right.
      joint_bins: Division of [low, high] for balancing all heads' combinations; None = `bins`.
    """

    name: str
    label: str
    scale: float
    low: float
    high: float
    bins: Bins
    unit: str
    mirror: float = 1.0
    corrections: Mapping[str, float] = dataclasses.field(default_factory=dict)
    joint_bins: Bins | None = None

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise UserError(f"heads.{self.name}.scale must be positive, found {self.scale}")
        for field, bins in (("bins", self.bins), ("joint_bins", self.joint_bins or self.bins)):
            if (bins.edges[0], bins.edges[-1]) != (self.low, self.high):
                raise UserError(
                    f"heads.{self.name}.{field} cover [{bins.edges[0]}, {bins.edges[-1]}], but the"
                    f" head's range is [{self.low}, {self.high}]: make the two the same"
                )
        if self.mirror not in (-1, 1):
            raise UserError(f"heads.{self.name}.mirror must be -1 or 1, found {self.mirror}")
        strangers = sorted(set(self.corrections) - set(MIRRORED_CAMERAS))
        if strangers:
            raise UserError(
                f"heads.{self.name}.corrections: only the cameras left and right are corrected,"
                f" found {strangers[0]!r}"
            )


def targets(
    head: Head, labels: np.ndarray, cameras: np.ndarray | None = None, *, mirrored: bool = False
) -> np.ndarray:
    """What the head learns from recorded labels.

    Args:
      head: Its scale, range and corrections.
      labels: As recorded, [N].
      cameras: Which camera saw each, [N]; None = the centre one saw all.
      mirrored: Whether the pictures are mirrored, which makes the left camera a right one.

    Returns:
      float32 [N] in [head.low, head.high]: (label + correction) / scale, clipped.
    """
    labels = np.asarray(labels, np.float32)
    if mirrored:
        labels = labels * np.float32(head.mirror)
    for camera, correction in head.corrections.items() if cameras is not None else ():
        seen_by = MIRRORED_CAMERAS[camera] if mirrored else camera
        labels = labels + np.where(cameras == seen_by, np.float32(correction), np.float32(0))
    scaled = labels / np.float32(head.scale)
    return np.clip(scaled, np.float32(head.low), np.float32(head.high))


def controls(head: Head, predictions: np.ndarray) -> np.ndarray:
    """Predictions of the network in the label's own unit and range, float32, same shape."""
    clipped = np.clip(np.asarray(predictions, np.float32), head.low, head.high)
    return (clipped * np.float32(head.scale)).astype(np.float32)


def bin_texts(head: Head) -> list[str]:
    """How to write every bin in the label's unit: "exactly 0.2" or "0.1 to 0.2"."""
    texts = []
    for low, high in head.bins.spans:
        first, last = (f"{value * head.scale:.4g}" for value in (low, high))
        texts.append(f"exactly {first}" if low == high else f"{first} to {last}")
    return texts


def heads_from_config(config: Mapping[str, Any]) -> dict[str, Head]:
    """The heads of a configuration, in order of their names.

    Args:
      config: `config.heads`: by head name, the fields of `Head`, bins as {edges, atoms}.

    Raises:
      UserError: A field is missing, bins do not fit the range, or there is no head at all.
    """
    if not config:
        raise UserError("config.heads is empty: name at least one head")
    heads = {}
    for name, fields in sorted(config.items()):
        try:
            heads[name] = Head(
                name=name,
                label=fields["label"],
                scale=float(fields["scale"]),
                low=float(fields["low"]),
                high=float(fields["high"]),
                bins=_bins(fields["bins"]),
                joint_bins=_bins(fields["joint_bins"]),
                unit=fields["unit"],
                mirror=float(fields["mirror"]),
                corrections={c: float(value) for c, value in fields["corrections"].items()},
            )
        except KeyError as error:
            raise UserError(f"config.heads.{name} has no field {error}") from error
    return heads


def _bins(fields: Mapping[str, Any]) -> Bins:
    return Bins(edges=tuple(map(float, fields["edges"])), atoms=tuple(map(float, fields["atoms"])))
