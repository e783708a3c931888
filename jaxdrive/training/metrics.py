"""How well a head predicts: squared and absolute error, and skill against the best constant.

skill = 1 - mse / mse of the best constant on the same frames, mse being the mean squared error:
1 is perfect, 0 is no better than knowing the mean, below 0 is worse. Where the label is constant
there is no skill to speak of: None. All are of decoded predictions, so that heads of different
kinds and losses can be compared; the loss that a head minimises is told of training batches alone.

`HeadMetrics` accumulates during training, on the device; `score` takes all predictions of a split
at once, in float64, on the host.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu_metrics

from jaxdrive.bins import bin_index
from jaxdrive.heads import Head, bin_texts, controls
from jaxdrive.heads import targets as targets_of
from jaxdrive.training import losses

# Variance of targets, in their range of about 1, under which a label counts as constant.
_CONSTANT = 1e-9
# Variance as a share of the squared mean that sums in float32 can invent for a constant label.
_ROUNDING = 1e-5


@flax.struct.dataclass
class HeadMetrics(clu_metrics.Metric):
    """Sums over the examples that one head saw; scalars, or per bin for `drawn`."""

    count: Any
    loss: Any
    squared_error: Any
    absolute_error: Any
    prediction: Any
    squared_prediction: Any
    target: Any
    squared_target: Any
    drawn: Any

    @classmethod
    def from_outputs(
        cls, head: Head, outputs: jax.Array, targets: jax.Array, mask: jax.Array
    ) -> "HeadMetrics":
        """Of the network's outputs, [n] or [n, bins]; targets float32 [n]; mask bool [n]."""
        weight = mask.astype(outputs.dtype)
        index = losses.bin_index(head.bins, targets)
        cost = losses.example_losses(head, outputs, targets)
        predictions, targets = losses.decode(head, outputs), targets.astype(outputs.dtype)
        error = (predictions - targets) * weight
        return cls(
            count=weight.sum(),
            loss=(cost * weight).sum(),
            squared_error=jnp.square(error).sum(),
            absolute_error=jnp.abs(error).sum(),
            prediction=(predictions * weight).sum(),
            squared_prediction=(jnp.square(predictions) * weight).sum(),
            target=(targets * weight).sum(),
            squared_target=(jnp.square(targets) * weight).sum(),
            drawn=jnp.zeros(len(head.bins), weight.dtype).at[index].add(weight),
        )

    def merge(self, other: "HeadMetrics") -> "HeadMetrics":
        """The sums over both; on the host in float64, so that long windows lose nothing."""
        return jax.tree.map(_sum, self, other)

    def compute(self) -> dict[str, Any]:
        """{"loss", "mse", "mae", "skill", "drawn"}.

        loss is what the head minimises, without its weight; errors are in the target's range; drawn
        is the number of examples in every bin. All but drawn are None where no example counted.
        """
        count = float(self.count)
        drawn = [round(value) for value in np.asarray(self.drawn).tolist()]
        if not count:
            return dict.fromkeys(("loss", "mse", "mae", "skill")) | {"drawn": drawn}
        mse = float(self.squared_error) / count
        variance = _variance(self.count, self.target, self.squared_target)
        return {
            "loss": float(self.loss) / count,
            "mse": mse,
            "mae": float(self.absolute_error) / count,
            "skill": _skill(mse, variance),
            "drawn": drawn,
        }


def spread(batches: Sequence[HeadMetrics]) -> float | None:
    """How far predictions differ inside a batch, as a share of how far targets do.

    Deviations are taken from the mean of each batch, so that a constant which moves from step to
    step has no spread.

    Args:
      batches: Of single steps, on the host.

    Returns:
      The ratio of the standard deviations; None where the targets of every batch are constant, or
      no example counted.
    """
    batches = [batch for batch in batches if batch.count]
    if not batches:
        return None
    predictions, targets = (
        float(
            np.mean(
                [
                    _variance(b.count, getattr(b, name), getattr(b, f"squared_{name}"))
                    for b in batches
                ]
            )
        )
        for name in ("prediction", "target")
    )
    return math.sqrt(predictions / targets) if targets > _CONSTANT else None


def _variance(count: Any, total: Any, squares: Any) -> float:
    """Of numbers whose sum and sum of squares are given; 0 where it is within their rounding."""
    mean = float(total) / float(count)
    variance = float(squares) / float(count) - mean**2
    return 0.0 if variance < _ROUNDING * mean**2 else variance


def _sum(a: Any, b: Any) -> Any:
    return a + b if isinstance(a, jax.Array) else np.add(a, b, dtype=np.float64)


def _skill(mse: float, constant_mse: float) -> float | None:
    return 1 - mse / constant_mse if constant_mse > _CONSTANT else None


def mean_skill(scores: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The mean of the heads' skills, without those that have none; None where no head has one."""
    skills = [score["skill"] for score in scores.values() if score["skill"] is not None]
    return float(np.mean(skills)) if skills else None


def score(head: Head, predictions: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How one head does on a set of frames.

    Args:
      head: Its range and bins.
      predictions: In the range of the head's target, [N].
      labels: As recorded, [N].

    Returns:
      {"natural": {"mse", "mae", "skill"}, "balanced": the same, "constant": see `constant_answer`,
      "bins": [{"text", "low", "high", "frames", "mae"}]}. mse is in the target's range, mae in the
      label's unit. Natural weighs every frame alike; balanced weighs every non-empty bin alike, so
      that rare bends count as much as straights.
    """
    targets = targets_of(head, labels).astype(np.float64)
    squared = np.square(predictions.astype(np.float64) - targets)
    recorded = np.clip(labels, head.low * head.scale, head.high * head.scale)
    absolute = np.abs(controls(head, predictions).astype(np.float64) - recorded)
    index = bin_index(head.bins, targets)
    frames = np.bincount(index, minlength=len(head.bins))
    filled = frames > 0
    weights = {
        "natural": np.ones(len(targets)),
        "balanced": 1 / frames[index],
    }
    sums = np.bincount(index, weights=absolute, minlength=len(head.bins))
    return {name: weighted_score(squared, absolute, targets, w) for name, w in weights.items()} | {
        "constant": constant_answer(head, recorded),
        "bins": [
            {
                "text": text,
                "low": low * head.scale,
                "high": high * head.scale,
                "frames": int(frames[number]),
                "mae": float(sums[number] / frames[number]) if filled[number] else None,
            }
            for number, (text, (low, high)) in enumerate(
                zip(bin_texts(head), head.bins.spans, strict=True)
            )
        ],
    }


def weighted_score(
    squared: np.ndarray, absolute: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> dict[str, Any]:
    """mse, mae and skill under given weights.

    Args:
      squared: Squared errors in the range of the target, [N].
      absolute: Absolute errors in the label's unit, [N].
      targets: In the range of the target, [N]; skill compares with the best constant for these.
      weights: Of every frame, [N]; their sum does not matter.
    """
    mse = float(np.average(squared, weights=weights))
    mean = np.average(targets, weights=weights)
    variance = float(np.average(np.square(targets - mean), weights=weights))
    mae = float(np.average(absolute, weights=weights))
    return {"mse": mse, "mae": mae, "skill": _skill(mse, variance)}


def constant_answer(head: Head, labels: np.ndarray) -> dict[str, float]:
    """What MAE says of someone who gives the same answer to every image.

    Args:
      head: A head that turns the car answers 0, straight on; another the median, which has the
        smallest MAE of all constants.
      labels: As recorded, [N], N > 0.

    Returns:
      {"value": the answer, "mae" of it on these frames, "zeros": share of labels that are exactly
      0}; value and mae in the label's unit.
    """
    labels = np.asarray(labels, np.float64)
    value = 0.0 if head.mirror < 0 else float(np.median(labels))
    return {
        "value": value,
        "mae": float(np.abs(labels - value).mean()),
        "zeros": float((labels == 0).mean()),
    }


def scores_of(
    heads: Mapping[str, Head], predictions: Mapping[str, np.ndarray], labels: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """`score` for every head; labels by label name, predictions by head name, each [N]."""
    return {
        name: score(head, predictions[name], labels[head.label]) for name, head in heads.items()
    }


def table(scores: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Lines of text: per head mse, mae and skill, natural and balanced.

    The natural mae stands beside that of a constant answer.
    """

    def skill(values: Mapping[str, Any]) -> str:
        text = "constant" if values["skill"] is None else f"{values['skill']:8.3f}"
        return f"{text:>8}"

    balanced = f"{'mse':>10} {'mae':>8} {'skill':>8}"
    natural = f"{'mse':>10} {'mae':>8} {'constant':>8} {'skill':>8}"
    lines = [
        f"{'':12}{'natural':^37}  {'balanced':^28}",
        f"{'':12}{'':10} {'':8} {'mae of a':>8}",
        f"{'head':12}{natural}  {balanced}",
    ]
    for name, values in scores.items():
        own, bins = values["natural"], values["balanced"]
        lines.append(
            f"{name:12}{own['mse']:10.5f} {own['mae']:8.4f} {values['constant']['mae']:8.4f}"
            f" {skill(own)}  {bins['mse']:10.5f} {bins['mae']:8.4f} {skill(bins)}"
        )
    return lines
