"""How often a head's bins occur among what it learns: as recorded, and as its plan draws them.

A loss that undoes imbalance and a network that decides by the recorded distribution need these
shares. They are constants of a run, made of labels and plans alone and saved with every checkpoint.
Mirroring and shifts change labels inside the step, and small angles may be left out there, so all
outcomes of these changes are counted, each by its probability at the end of the run's schedules.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdrive.bins import bin_index
from jaxdrive.data.balance import Plan
from jaxdrive.data.loader import Examples
from jaxdrive.data.views import records_of, transforms_of
from jaxdrive.heads import Head, Shares
from jaxdrive.training import augment


def bin_shares(
    config: Mapping[str, Any],
    examples: Examples,
    ids: np.ndarray,
    plans: Mapping[str, Plan],
    *,
    supervise: str,
) -> dict[str, Shares]:
    """By head name, the shares of its bins.

    Args:
      config: Of the run, with its durations in steps.
      examples: Make the targets of records.
      ids: What there is to draw, int32 [n]: records, or views.
      plans: By head name, what it draws of these.
      supervise: "own" or "all": whether a head learns from its own draws or from all heads'.
    """
    heads, settings = examples.heads, config["augment"]
    records = records_of(ids, views=config["views"])
    transform = None if config["views"] == "none" else jnp.asarray(transforms_of(ids))
    as_is, mirrored = (
        jax.device_put(examples.targets(records, list(heads), mirrored=side))
        for side in (False, True)
    )
    drawn = {name: plan.shares(int(ids.max()) + 1)[ids] for name, plan in plans.items()}
    if supervise == "all":
        drawn = dict.fromkeys(heads, np.mean(list(drawn.values()), axis=0))
    recorded = np.full(len(ids), 1 / len(ids))
    totals = {name: np.zeros((2, len(head.bins))) for name, head in heads.items()}
    kinds = augment.active(settings)

    @jax.jit
    def change(changes: augment.Changes) -> dict[str, jax.Array]:
        return {
            name: augment.change_targets(
                kinds, changes, head, as_is[name], mirrored[name], settings, transform
            )
            for name, head in heads.items()
        }

    for chance, changes in _outcomes(config, heads):
        labels = jax.device_get(change(changes))
        for name, head in heads.items():
            known = labels if supervise == "all" else {name: labels[name]}
            counted = chance * _counted(config, heads, known)
            index = bin_index(head.bins, labels[name])
            for total, weights in zip(totals[name], (recorded, drawn[name]), strict=True):
                total += np.bincount(index, weights * counted, minlength=len(head.bins))
    return {name: Shares(*map(_normalised, both)) for name, both in totals.items()}


def _outcomes(
    config: Mapping[str, Any], heads: Mapping[str, Head]
) -> Iterator[tuple[float, augment.Changes]]:
    """What may happen to the label of an image, with its probability: changes of one row."""
    settings = config["augment"]
    # Labels depend on no other change.
    nothing = dict.fromkeys(field.name for field in dataclasses.fields(augment.Changes))
    flip = min(settings["flip"]["probability"] * _factor(config, "flip"), 1.0)
    view = min(_factor(config, "views"), 1.0) if config["views"] != "none" else 0.0
    extent = 0
    if any(settings["shift"]["label_per_pixel"].get(name) for name in heads):
        extent = round(settings["shift"]["sideways"] * _factor(config, "shift"))
    columns = range(-extent, extent + 1)
    for flipped, viewed, column in itertools.product((False, True), (False, True), columns):
        chance = (flip if flipped else 1 - flip) * (view if viewed else 1 - view)
        if chance > 0:
            yield (
                chance / len(columns),
                augment.Changes(
                    **nothing
                    | {
                        "flip": np.asarray([flipped]),
                        "view_flip": np.asarray([viewed]),
                        "shift": np.asarray([[column, 0]], np.int32),
                    }
                ),
            )


def _counted(
    config: Mapping[str, Any], heads: Mapping[str, Head], labels: Mapping[str, np.ndarray]
) -> float | np.ndarray:
    """The probability that a row counts, by the labels that its batch knows."""
    left_out = augment.small(config["augment"], heads, labels)
    if left_out is None:
        return 1.0
    chance = config["augment"]["small_angles"]["probability"] * _factor(config, "small_angles")
    return 1 - min(chance, 1.0) * np.asarray(left_out)


def _factor(config: Mapping[str, Any], kind: str) -> float:
    return float(augment.factor(config["augment"][kind]["schedule"], config["num_steps"]))


def _normalised(totals: np.ndarray) -> Sequence[float]:
    # Where no row counts, nothing is learned, and no bin is more frequent than another.
    shares = totals / totals.sum() if totals.any() else np.full(len(totals), 1 / len(totals))
    return tuple(shares.tolist())
