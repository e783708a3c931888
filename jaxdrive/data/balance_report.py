"""What a plan makes of a label table: per bin what there is, how often it is drawn, what lacks.

Pure numpy. How it looks as text or as a picture is left to `evaluation/`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdrive.bins import bin_index
from jaxdrive.data.balance import WEIGHTED, Balance, Plan, weights_of
from jaxdrive.data.draw_weights import most_drawn
from jaxdrive.data.views import targets_of
from jaxdrive.heads import Head, bin_texts


def report(
    heads: Mapping[str, Head],
    learned: Mapping[str, np.ndarray],
    cameras: np.ndarray,
    ids: np.ndarray,
    plans: Mapping[str, Plan],
    *,
    balance: Balance,
    supervise: str,
    views: str = "none",
) -> dict[str, Any]:
    """Counts what every head learns from, in the long run.

    Args:
      heads: Their bins are reported by, also where combinations of other bins are drawn from.
      learned: By head name, the labels that it learns, see `label_functions.py`, float32 [N].
      cameras: The camera that saw every record, [N].
      ids: The records that the plans draw from, or the views, int32 [n].
      plans: By head name.
      balance: What the plans were made by.
      supervise: "own" or "all": whether a head learns from its own draws or from all heads'.
      views: Whether ids are of records or of views, one of `jaxdrive.views.VIEWS`.

    Returns:
      {"mode", "power", "limit", "smoothing", "supervise", "views", "drawn_from": number of bins, or
      of combinations of bins, that each head draws from, "heads": {head: {"label", "unit",
      "evenness", "batch_evenness", "draws", "bins": [{"text", "low", "high", "frames",
      "planned_share", "repeats_per_pass"}]}}}. low and high are in the label's unit; frames counts
      views where views are drawn, and every share is of what is drawn; planned_share is of what the
      head learns from; repeats_per_pass says how often a frame of the bin is drawn, on average,
      while as many frames are drawn as there are, None for an empty bin. evenness is that of
      planned_share, and batch_evenness has by name that of every other head's bins in this head's
      own batches, see `evenness`. draws says how often single frames are drawn in the head's own
      batches, see `_draws`.
    """
    drawn = targets_of(heads, learned, cameras, ids, views=views)
    binned = {name: bin_index(head.bins, drawn[name]) for name, head in heads.items()}
    own = {name: plan.shares(int(ids.max()) + 1)[ids] for name, plan in plans.items()}
    mean = np.mean(list(own.values()), axis=0)
    described = {}
    for name, head in heads.items():
        shares = own[name] if supervise == "own" else mean
        frames = np.bincount(binned[name], minlength=len(head.bins))
        planned = np.bincount(binned[name], weights=shares, minlength=len(head.bins))
        described[name] = {
            "label": head.label,
            "unit": head.unit,
            "evenness": evenness(planned, frames),
            "batch_evenness": {
                other: evenness(np.bincount(index, weights=own[name]), np.bincount(index))
                for other, index in binned.items()
                if other != name
            },
            "draws": _draws(head, binned[name], own[name], balance),
            "bins": _bins(head, frames, planned),
        }
    return {
        **dataclasses.asdict(balance),
        "supervise": supervise,
        "views": views,
        "drawn_from": {name: len(plan.bins) for name, plan in plans.items()},
        "heads": described,
    }


def _draws(
    head: Head, own: np.ndarray, shares: np.ndarray, balance: Balance
) -> dict[str, float | dict[str, float]]:
    """What `most_drawn` says of the shares, and what a limit did.

    Args:
      head: Whose own draws they are.
      own: Its bin of every frame, int64 [n].
      shares: Of every frame in its draws, float64 [n].
      balance: What they were made by.

    Returns:
      {"repeats", "top_share"}, and with a limit "unlimited": the same without it, "limited": number
      of frames that are drawn less often for it, "moved": the share of the draws that went from
      these to other bins.
    """
    found: dict[str, float | dict[str, float]] = {**most_drawn(shares)}
    if balance.mode in WEIGHTED and balance.limit:
        before = weights_of(head, own, dataclasses.replace(balance, limit=0.0))
        lost = before - weights_of(head, own, balance)
        # Rounding alone is no loss.
        less = lost > before * 1e-9
        found["unlimited"] = most_drawn(before)
        found["limited"] = int(less.sum())
        found["moved"] = float(lost[less].sum())
    return found


def _bins(head: Head, frames: np.ndarray, planned: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "text": text,
            "low": low * head.scale,
            "high": high * head.scale,
            "frames": int(count),
            "planned_share": float(share),
            "repeats_per_pass": float(share * frames.sum() / count) if count else None,
        }
        for text, (low, high), count, share in zip(
            bin_texts(head), head.bins.spans, frames, planned, strict=True
        )
    ]


def evenness(shares: np.ndarray, frames: np.ndarray) -> float | None:
    """The entropy of shares over the largest one possible: 1 where all bins with frames are alike.

    Args:
      shares: Of every bin, summing to 1.
      frames: Of every bin; empty bins do not count.

    Returns:
      0 to 1; None where fewer than two bins have frames.
    """
    filled = shares[frames > 0]
    if len(filled) < 2:
        return None
    drawn = filled[filled > 0]
    return float(-(drawn * np.log(drawn)).sum() / np.log(len(filled)))
