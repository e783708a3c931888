"""What one head of the network is: its label, its range, its bins, its kind. Data, not code.

A head reads one recorded label (steering, say), scales it to its own range (the *target*, which the
network learns) and scales the network's answer back to a *control*. What a camera beside the
centre line or a mirrored picture changes in a label is said here too. How a head is computed stands
in `models/`; what its outputs mean and cost, in `training/losses.py`.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdrive.bins import Bins
from jaxdrive.errors import UserError

# Where each camera of a car stands when the picture is mirrored.
MIRRORED_CAMERAS = {"left": "right", "right": "left"}

# Labels that are made of recorded ones: by name, the factor of each in their sum.
DERIVED_LABELS: Mapping[str, Mapping[str, float]] = {"pedals": {"throttle": 1.0, "brake": -1.0}}

KINDS = ("regression", "classification")
REGRESSION_LOSSES = ("squared", "absolute", "huber", "balanced_squared")
# Seconds by which a label may be smoothed or taken from later: a driver's reaction, at most.
_LONGEST = 5.0
# What can say which checkpoint is the best: skill on frames as recorded, skill with all bins alike,
# R2 of means over a second.
MEASURES = ("natural", "balanced", "windowed")
MEAN_MEASURES = ("natural", "balanced")
DECODINGS = ("expectation", "argmax")
# By which distribution of bins a classification decides.
PRIORS = ("drawn", "recorded")


@dataclasses.dataclass(frozen=True)
class Shares:
    """How often each bin of a head occurs in training; shares of all bins sum to 1.

    Attributes:
      recorded: If every training frame were drawn equally.
      drawn: In what the head learns from.
    """

    recorded: Sequence[float]
    drawn: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Head:
    """One head of the network.

    Attributes:
      name: The head's name, and the control's (steering, throttle, brake).
      label: The label it learns: a recorded one, or one of `DERIVED_LABELS`.
      scale: Largest absolute value of the label that occurs; target = label / scale.
      low: Lower end of the target's range.
      high: Upper end of the target's range.
      bins: Division of [low, high] for balancing, for reports, and for a classification.
      unit: Unit of the label, for axes and tables.
      mirror: What a mirrored picture makes of the label: its factor, -1 or 1.
      corrections: By camera ("left", "right"), what is added to the label where that camera saw the
        frame: a car that stood where the left camera is would steer to the right.
      joint_bins: Division of [low, high] for balancing all heads' combinations; None = `bins`.
      kind: One of `KINDS`. A regression says the target; a classification says how likely each bin
        is and learns by cross-entropy.
      loss: What a regression minimises, one of `REGRESSION_LOSSES`.
      delta: Error, in the target's range, above which a Huber loss grows only linearly.
      noise: Standard deviation, in the target's range, of what images do not say about the target,
        for the loss "balanced_squared".
      decode: What a classification says in the end, one of `DECODINGS`: the mean of the bins'
        values under their probabilities, or the value of the likeliest bin.
      prior: By which distribution of bins a classification decides, one of `PRIORS`: as it learned
        them, or as if all training frames had been drawn equally. There is none for a regression:
        it says one number and no probabilities that could be weighed anew.
      weight: Of the head's loss in the sum of all heads' losses.
      smooth_seconds: What it learns is the mean of the labels so many seconds before and after.
      lead_seconds: What it learns is recorded so many seconds later.
      shares: Of its bins; None until there is a dataset.
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
    kind: str = "regression"
    loss: str = "squared"
    delta: float = 0.1
    noise: float = 0.1
    decode: str = "expectation"
    prior: str = "drawn"
    weight: float = 1.0
    smooth_seconds: float = 0.0
    lead_seconds: float = 0.0
    shares: Shares | None = None

    def __post_init__(self) -> None:
        self._check_learning()
        if not 0 < self.scale < math.inf:
            raise UserError(f"{self._where}.scale must be positive, found {self.scale}")
        if not -math.inf < self.low < self.high < math.inf:
            raise UserError(
                f"{self._where}.low={self.low} must be below high={self.high}, both finite"
            )
        for field, bins in (("bins", self.bins), ("joint_bins", self.joint_bins or self.bins)):
            if (bins.edges[0], bins.edges[-1]) != (self.low, self.high):
                raise UserError(
                    f"{self._where}.{field} cover [{bins.edges[0]}, {bins.edges[-1]}], but the"
                    f" head's range is [{self.low}, {self.high}]: make the two the same"
                )
        if self.mirror not in (-1, 1):
            raise UserError(f"{self._where}.mirror must be -1 or 1, found {self.mirror}")
        strangers = sorted(set(self.corrections) - set(MIRRORED_CAMERAS))
        if strangers:
            raise UserError(
                f"{self._where}.corrections: only the cameras left and right are corrected,"
                f" found {strangers[0]!r}"
            )

    @property
    def _where(self) -> str:
        return f"config.heads.{self.name}"

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for it: the target, or a logit of every bin."""
        return len(self.bins) if self.kind == "classification" else 1

    def _check_learning(self) -> None:
        for field, known in (
            ("kind", KINDS),
            ("loss", REGRESSION_LOSSES),
            ("decode", DECODINGS),
            ("prior", PRIORS),
        ):
            value = getattr(self, field)
            if value not in known:
                raise UserError(
                    f"{self._where}.{field}={value!r} is not known: one of {', '.join(known)}"
                )
        for field in ("delta", "noise"):
            if not 0 < getattr(self, field) < math.inf:
                raise UserError(
                    f"{self._where}.{field} must be positive, found {getattr(self, field)}"
                )
        if (self.kind, self.prior) == ("regression", "recorded"):
            raise UserError(
                f"{self._where}.prior='recorded' weighs the probabilities of bins, and a regression"
                f" gives none: leave it at 'drawn', or set {self._where}.kind='classification'"
            )
        if not 0 < self.weight < math.inf:
            raise UserError(
                f"{self._where}.weight must be positive, found {self.weight}: a head"
                " that is not to learn is left out of config.heads"
            )
        for field in ("smooth_seconds", "lead_seconds"):
            if not 0 <= getattr(self, field) <= _LONGEST:
                raise UserError(
                    f"{self._where}.{field} has to be from 0 to {_LONGEST:g}, found"
                    f" {getattr(self, field)}"
                )
        if self.kind == "classification" and len(self.bins) < 2:
            raise UserError(
                f"{self._where}.kind='classification' needs at least 2 bins to tell"
                f" apart, found {len(self.bins)}: set config.heads.{self.name}.bins"
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


def control_names(head: Head) -> tuple[str, ...]:
    """What a car is told by a head: its name, or what its derived label is made of."""
    return tuple(DERIVED_LABELS.get(head.label, (head.name,)))


def commands(head: Head, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """What a car is told: by name of the control, float32 of the predictions' shape.

    Of a derived label each part takes the value on its own side: pedals of -0.3 are a brake of 0.3
    and a throttle of 0.
    """
    values = controls(head, predictions)
    if head.label not in DERIVED_LABELS:
        return {head.name: values}
    factors = DERIVED_LABELS[head.label]
    return {name: np.maximum(values * np.float32(factors[name]), 0) for name in factors}


def derivable(names: Collection[str]) -> tuple[str, ...]:
    """The derived labels that can be made of recorded ones and are not among them."""
    return tuple(
        name
        for name, parts in DERIVED_LABELS.items()
        if name not in names and parts.keys() <= set(names)
    )


def derive(name: str, labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """A derived label of every record, float32 [N], from the recorded ones by name, [N]."""
    terms = [labels[part] * np.float32(factor) for part, factor in DERIVED_LABELS[name].items()]
    return np.stack(terms).sum(axis=0, dtype=np.float32)


def recorded_labels(label: str) -> set[str]:
    """The recorded labels that a label is made of; itself where it is recorded."""
    return set(DERIVED_LABELS.get(label, {label}))


def bin_texts(head: Head) -> list[str]:
    """How to write every bin in the label's unit: "exactly 0.2" or "0.1 to 0.2"."""
    texts = []
    for low, high in head.bins.spans:
        first, last = (f"{value * head.scale:.4g}" for value in (low, high))
        texts.append(f"exactly {first}" if low == high else f"{first} to {last}")
    return texts


def learning_text(head: Head) -> str:
    """What a head minimises: "0.5 x huber error (delta 0.1)", "cross-entropy of 21 bins, ..."."""
    if head.kind == "classification":
        text = f"cross-entropy of {head.outputs} bins, decoded by {head.decode}"
        text += f" under the {head.prior} prior" * (head.prior != "drawn")
    else:
        numbers = {
            "huber": f" (delta {head.delta:g})",
            "balanced_squared": f" (noise {head.noise:g})",
        }
        text = f"{head.loss} error{numbers.get(head.loss, '')}"
    return text if head.weight == 1 else f"{head.weight:g} x {text}"


def best_by_of(text: str, heads: Mapping[str, Head]) -> tuple[str | None, str]:
    """The head and the measure of `config.best_by`; no head means the mean over all.

    Raises:
      UserError: There is no such head or measure.
    """
    name, colon, measure = text.rpartition(":")
    known = MEASURES if colon else MEAN_MEASURES
    wrong = ""
    if colon and name not in heads:
        wrong = f"there is no head {name!r}, only {', '.join(heads)}"
    elif measure not in known:
        wrong = f"there is no measure {measure!r}, only {', '.join(known)}"
    if wrong:
        raise UserError(
            f"config.best_by={text!r}: {wrong}. Set it to HEAD:MEASURE, such as"
            f" {next(iter(heads))}:natural, or to one of {', '.join(MEAN_MEASURES)}, the means over"
            " heads"
        )
    if measure == "windowed" and heads[name].mirror > 0:
        raise UserError(
            f"config.best_by={text!r}: windowed errors are for heads that turn the car, with"
            f" config.heads.{name}.mirror=-1"
        )
    return name or None, measure


def heads_from_config(config: Mapping[str, Any]) -> dict[str, Head]:
    """The heads of a configuration, in order of their names.

    Args:
      config: `config.heads`: by head name, the fields of `Head`, bins as {edges, atoms}.

    Raises:
      UserError: A field is missing or not usable, bins do not fit the range, or there is no head.
    """
    if not config:
        raise UserError("config.heads is empty: name at least one head")
    heads = {}
    for name, fields in sorted(config.items()):
        try:
            heads[name] = _head(name, fields)
        except KeyError as error:
            raise UserError(f"config.heads.{name} has no field {error}") from error
        except (TypeError, ValueError) as error:
            raise UserError(
                f"config.heads.{name} has a value of the wrong type: {error}"
            ) from error
    return heads


def _head(name: str, fields: Mapping[str, Any]) -> Head:
    return Head(
        name=name,
        label=fields["label"],
        scale=float(fields["scale"]),
        low=float(fields["low"]),
        high=float(fields["high"]),
        bins=_bins(name, "bins", fields),
        joint_bins=_bins(name, "joint_bins", fields),
        unit=fields["unit"],
        mirror=float(fields["mirror"]),
        corrections={camera: float(value) for camera, value in fields["corrections"].items()},
        kind=fields["kind"],
        loss=fields["loss"],
        delta=float(fields["delta"]),
        noise=float(fields["noise"]),
        decode=fields["decode"],
        prior=fields["prior"],
        weight=float(fields["weight"]),
        smooth_seconds=float(fields["smooth_seconds"]),
        lead_seconds=float(fields["lead_seconds"]),
    )


def _bins(name: str, field: str, fields: Mapping[str, Any]) -> Bins:
    edges, atoms = (tuple(map(float, fields[field][part])) for part in ("edges", "atoms"))
    try:
        return Bins(edges=edges, atoms=atoms)
    except UserError as error:
        told = str(error).removeprefix("bins")
        raise UserError(f"config.heads.{name}.{field}{told}") from error
