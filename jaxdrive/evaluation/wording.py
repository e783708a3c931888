"""How the report says things: results in plain words, numbers as text.

The words are for a reader who has never seen the project. What an error says of a head stands in
verdict.py. Nothing here reads files or knows the page: that is report.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxdrive.logs import plural

# CarRacing's own border, https://gymnasium.farama.org/environments/box2d/car_racing/
SOLVED_SCORE = 900.0

# What a way of balancing does, as the end of a sentence.
_BALANCE_WORDS = {
    "none": "nothing is balanced: every frame is drawn alike",
    "v1": "every combination of all labels' coarse parts is drawn alike, and every head learns from"
    " every frame",
    "v2": "a head draws all parts of its own label alike",
    "v3": "a head draws all parts of its own label alike, and learns from the other heads' frames"
    " too",
    "v4": "a head draws all parts of its own label alike, inside a part those frames more often"
    " that even out the other labels, and every head learns from every frame",
}

# The same of v2 and v3 with a power below 1, smoothing or a limit.
_LESS_EQUALLY = {
    "v2": "a head draws the parts of its own label more equally than they were recorded, though not"
    " all alike",
    "v3": "a head draws the parts of its own label more equally than they were recorded, though not"
    " all alike, and learns from the other heads' frames too",
}

NO_SKILL = "constant label, no skill"
ABSENT = "\N{EN DASH}"


def driving_in_words(drive: Mapping[str, Any] | None) -> tuple[str, str]:
    """Plain words for how a run drives, and their level: "good", "fair", "poor" or "unknown".

    Args:
      drive: what drive.json holds; None: not driven.
    """
    if drive is None:
        return "Not driven yet", "unknown"
    if drive["mean"] >= SOLVED_SCORE:
        return "It drives: the task counts as solved", "good"
    if 2 * drive["finished"] >= len(drive["tracks"]):
        return "It drives, but not yet well enough to count as solved", "fair"
    return "It does not hold the road yet", "poor"


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits; thousands in full; a dash for None."""
    if value is None:
        return ABSENT
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".removesuffix(".")


def signed(skill: float | None, decimals: int = 3) -> str:
    """A skill with its sign, or what None means."""
    if skill is None:
        return NO_SKILL
    return f"{skill:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float | None) -> str:
    """A share of 1 as a percentage with one decimal; a dash for None."""
    return ABSENT if share is None else f"{100 * share:.1f} %"


def balance_words(balance: Mapping[str, Any]) -> str:
    """What the balance of a balance.json does, as the end of a sentence."""
    # Those that an earlier version wrote have none of these.
    less = balance.get("power", 1) < 1 or balance.get("smoothing") or balance.get("limit")
    words = _LESS_EQUALLY if less else _BALANCE_WORDS
    return words[balance["mode"]]


def draws(draws: Mapping[str, Any], limit: float, things: str) -> str:
    """How often single frames are drawn, and what a limit did, as a sentence.

    Args:
      draws: What balance.json holds of a head, see `data/balance_report.py`.
      limit: `config.balance_limit`; 0 = none.
      things: "frames" or "views", what is drawn.
    """
    thing = things.removesuffix("s")
    text = (
        f"the most-drawn {thing} is drawn {number(draws['repeats'])} times as often as an average"
        f" one; the 1 % of {things} that are drawn most get {percent(draws['top_share'])} of the"
        " draws"
    )
    if not limit:
        return text
    if not draws["limited"]:
        return f"{text}. The limit of {limit:g} holds none back"
    before = draws["unlimited"]
    return (
        f"{text}. Without the limit of {limit:g} these were {number(before['repeats'])} times and"
        f" {percent(before['top_share'])}: it holds {plural(draws['limited'], thing)} back and"
        f" moves {percent(draws['moved'])} of the draws to other bins"
    )


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: 4.2 s, 2 min 5 s, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def age(seconds: float) -> str:
    """Seconds that have passed since something, in the largest unit: 5 minutes ago, 1 hour ago."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count >= 1:
            return f"{count:,} {unit}{'s' * (count > 1)} ago"
    return "just now"


def size(count: float) -> str:
    """Bytes in decimal units: 512 B, 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """A table as lines of text: the first column to the left, the others to the right.

    Args:
      rows: Of equally many cells.
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
