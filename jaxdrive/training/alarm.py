"""Names a head that does not even fit its training batches, and says what to try.

Two signs, both of training batches: predictions that hardly differ from picture to picture, as
those of a head whose units have died, and skill that stays at a constant's. A sign that lasts for
its patience raises the head's alarm, which ends when no sign lasts any more. What is known of a
head is a few numbers in every checkpoint's meta, so a run that goes on knows them; how spread and
skill are measured stands in `metrics.py`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxdrive.logs import logger


@dataclasses.dataclass(frozen=True)
class Watched:
    """What is known of one head; steps count updates made, and None is no such step.

    Attributes:
      flat_since: Since when its predictions have had too little spread.
      poor_since: Since when its skill has been too low.
      alarm_since: At which step its alarm was raised that is still on.
    """

    flat_since: int | None = None
    poor_since: int | None = None
    alarm_since: int | None = None


def watched(
    before: Watched,
    begun: int,
    step: int,
    *,
    spread: float | None,
    skill: float | None,
    settings: Mapping[str, Any],
) -> Watched:
    """What is known of a head after a window of steps.

    Args:
      before: What was known before it.
      begun: Updates made before the window.
      step: Updates made after it.
      spread: Of the window's predictions, see `metrics.spread`; None leaves what was known.
      skill: Of the window; None leaves what was known.
      settings: `config.alarm`, patience in steps.
    """
    flat = _since(before.flat_since, begun, spread, settings["min_spread"])
    poor = _since(before.poor_since, begun, skill, settings["min_skill"])
    lasting = _lasts(flat, step, settings["spread_patience"]) or _lasts(
        poor, step, settings["skill_patience"]
    )
    raised = before.alarm_since if before.alarm_since is not None else step
    return Watched(flat, poor, raised if lasting else None)


def _since(since: int | None, begun: int, value: float | None, least: float) -> int | None:
    if value is None:
        return since
    if value >= least:
        return None
    return begun if since is None else since


def _lasts(since: int | None, step: int, patience: int) -> bool:
    return bool(patience) and since is not None and step - since >= patience


def watch(
    alarms: Mapping[str, Mapping[str, int | None]],
    begun: int,
    step: int,
    line: Mapping[str, Any],
    heads: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> dict[str, dict[str, int | None]]:
    """Watches all heads over a window of steps; warns where an alarm begins, and where it ends.

    Args:
      alarms: By head, the fields of `Watched`, as a checkpoint's meta has them; empty at first.
      begun: Updates made before the window.
      step: Updates made after it.
      line: What is logged of it: "train/HEAD/spread" and "train/HEAD/skill".
      heads: Their names.
      settings: `config.alarm`, patience in steps.

    Returns:
      `alarms` after the window.
    """
    after = {}
    for name in heads:
        before = Watched(**alarms.get(name, {}))
        spread, skill = line[f"train/{name}/spread"], line[f"train/{name}/skill"]
        now = watched(before, begun, step, spread=spread, skill=skill, settings=settings)
        if now.alarm_since is not None and before.alarm_since is None:
            logger.warning("%s", _warning(name, step, now, spread, settings))
        elif now.alarm_since is None and before.alarm_since is not None:
            logger.warning("The alarm of step %d for %s ends at %d", before.alarm_since, name, step)
        after[name] = dataclasses.asdict(now)
    return after


def _warning(
    name: str, step: int, now: Watched, spread: float | None, settings: Mapping[str, Any]
) -> str:
    if _lasts(now.flat_since, step, settings["spread_patience"]):
        share = "" if spread is None else f" (last: {spread:.1%})"
        return (
            f"ALARM at step {step}: {name} says nearly the same to every picture. Since step"
            f" {now.flat_since} its predictions have differed by less than"
            f" {settings['min_spread']:.0%} of what its labels do{share}: it has probably died."
            " Start again in another --workdir with a lower --config.optim.learning_rate, a longer"
            " --config.optim.warmup_steps, another --config.model.dense_init or --config.seed"
        )
    return (
        f"ALARM at step {step}: {name} is no better than a constant on its own training batches."
        f" Since step {now.poor_since} its skill there has been below {settings['min_skill']:g}."
        " Look at its"
        " labels (launch.py inspect), give it more steps, or try another"
        " --config.optim.learning_rate, a longer --config.optim.warmup_steps or a larger"
        " --config.model.head"
    )


def alarm_line(alarms: Mapping[str, Mapping[str, int | None]]) -> dict[str, int]:
    """What is logged of alarms: 1 for a head whose alarm is on, 0 for the others."""
    return {
        f"train/{name}/alarm": int(known["alarm_since"] is not None)
        for name, known in alarms.items()
    }
