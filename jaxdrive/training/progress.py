"""How far a run has come, beside its numbers: samples drawn, the best skill, alarms, when to stop.

Every checkpoint says it in its meta, so a run that goes on knows what the one before it knew.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Progress:
    """What is known of a run at one of its steps.

    Attributes:
      samples: Examples that each head has drawn.
      best_step: Step of the best held-out skill so far; None before the first.
      best_skill: That skill.
      alarms: By head, what `alarm.py` knows of it.
    """

    samples: int = 0
    best_step: int | None = None
    best_skill: float | None = None
    alarms: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def measured(
    progress: Progress, step: int, skill: float | None, *, min_improvement: float
) -> Progress:
    """The progress after held-out frames were measured at `step`.

    A skill counts as better where it exceeds the best by more than `min_improvement`; None, the
    skill on constant labels, never does.
    """
    best = progress.best_skill
    if skill is None or (best is not None and not skill > best + min_improvement):
        return progress
    return dataclasses.replace(progress, best_step=step, best_skill=skill)


def reason_to_stop(progress: Progress, step: int, *, patience: int) -> str | None:
    """Why a run stops early after measuring at `step`; None where it does not.

    Args:
      progress: After that measurement.
      step: Updates made.
      patience: Steps without a better skill after which to stop; 0 = never.
    """
    if not patience or progress.best_step is None or step - progress.best_step < patience:
        return None
    return (
        f"Stopped early at step {step}: the held-out skill has not risen since step"
        f" {progress.best_step} ({progress.best_skill:.3f}), which is"
        f" config.early_stopping.patience={patience} steps ago or more"
    )
