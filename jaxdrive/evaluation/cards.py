"""What the report says at its top: a card for every head, a headline, and what the numbers lack.

Reads what results.py read; the words are those of verdict.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from jaxdrive.evaluation import verdict, wording
from jaxdrive.evaluation.results import Json
from jaxdrive.training import windowed


@dataclasses.dataclass(frozen=True)
class Card:
    """What the page says at its top about one head.

    Attributes:
      name: The head.
      colour: Its colour in every figure.
      turns: Whether its windowed error is measured.
      title: What the number is.
      value: The number as text; "" where there is none, and the words stand alone.
      notes: What else has to be known of it.
      words: The verdict.
      level: "good", "fair", "poor" or "unknown", for the colour of the words.
    """

    name: str
    colour: str
    turns: bool
    title: str
    value: str
    notes: Sequence[str]
    words: str
    level: str


def card(evaluation: Json | None, lines: Sequence[Json], head: str, colour: str) -> Card:
    """The windowed error of a head that turns the car, skill of others.

    Before evaluation, the last ones measured while training.
    """
    evaluated = (evaluation or {"heads": {}})["heads"].get(head)
    if evaluated is not None:
        assert evaluation is not None
        windows = evaluation.get("windowed", {}).get(head)
        one = windows[0] if windows else None
        skill, natural = evaluated["balanced"]["skill"], evaluated["natural"]["skill"]
        said = verdict.of_head(windows, skill)
        notes = [] if natural is None else [f"{wording.signed(natural, 2)} on frames as recorded"]
    else:
        one, skills = _measured(lines, head)
        skill, notes = (skills[-1] if skills else None), []
        said = verdict.NOT_EVALUATED if one or not skills else verdict.of_skill(skill)
    if one is None:
        value = "" if skill is None else wording.signed(skill, 2)
        return Card(head, colour, False, f"held-out skill, {head}", value, notes, *said)
    value = "" if one["ratio"] is None else f"{one['ratio']:.2f}"
    notes = [] if one["ratio"] is None else [windowed.interval_text(one)]
    title = f"error over {one['seconds']:g} s relative to straight on, {head}"
    return Card(head, colour, True, title, value, notes, *said)


def _measured(lines: Sequence[Json], head: str) -> tuple[Json | None, list[float | None]]:
    """A head's last windowed error, and its skills, on validation frames while training."""
    key = f"validation/{head}/skill"
    followed = [one for line in lines if (one := windowed.from_logged(head, line)) is not None]
    return (followed[-1] if followed else None), [line[key] for line in lines if key in line]


def headline(cards: Sequence[Card]) -> tuple[str, str]:
    """The title of a run that is measured on recordings alone, and its level.

    It is about the heads that turn the car, where there are any.
    """
    turning = [one for one in cards if one.turns]
    # One colon is enough for a title.
    words = [(one.name.capitalize(), one.words.replace(": ", ", ", 1)) for one in turning]
    verdicts = "".join(f". {name}: {text}" for name, text in words)
    return f"Measured on recorded frames{verdicts}", turning[0].level if turning else "unknown"


def remarks(evaluation: Json | None) -> Iterator[str]:
    """What the windows of an evaluation lack, sentences."""
    if evaluation is None:
        return
    first = {name: found[0] for name, found in evaluation.get("windowed", {}).items()}
    for name, one in first.items():
        if one["ratio"] is None:
            yield f"{name}: {windowed.ratio_text(one)}."
    if any(one["interval"] is None for one in first.values()):
        yield verdict.MORE_STRETCHES
    if evaluation.get("assumed_rate") is not None and first:
        yield f"{verdict.clock_remark(evaluation['assumed_rate'])}."
