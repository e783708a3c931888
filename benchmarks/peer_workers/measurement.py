"""What a run of the peers measured, how much faster one is than another, and what got slower.

Pure functions of numbers and the standard library alone, so that the tests need no peer.
"""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# What counts as slower: a share of CPU seconds that is more than this, and more than the spread.
TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Row:
    """One peer.

    Attributes:
      peer: Its short name.
      title: Its name in the table.
      reason: Why it was not measured; "" where it was.
      wall: Seconds of an update, one number for each round.
      cpu: CPU seconds of an update, one number for each round.
      updates: Updates of a round.
      parameters: Numbers in the network, moving averages included.
      device: What it ran on.
      startup_wall: Seconds from the start of the process until the first update was made.
      startup_cpu: CPU seconds of the same.
      first_loss: Of the first update.
      last_loss: Of the last one.
      versions: Of Python and the packages.
    """

    peer: str
    title: str
    reason: str = ""
    wall: Sequence[float] = ()
    cpu: Sequence[float] = ()
    updates: int = 0
    parameters: int = 0
    device: str = ""
    startup_wall: float = 0.0
    startup_cpu: float = 0.0
    first_loss: float = 0.0
    last_loss: float = 0.0
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """All peers of one workload, measured in turn.

    Attributes:
      workload: Its name.
      text: What it is, for people.
      images: Images of an update.
      rows: One for each peer.
      date: Day and time of the start.
      commit: Of the checkout.
      rounds: How many there were.
      load: Average load of the machine before and after, over one minute.
      others: Share of the machine's cores that other work took during the rounds, their median.
    """

    workload: str
    text: str
    images: int
    rows: Sequence[Row]
    date: str
    commit: str
    rounds: int
    load: tuple[float, float]
    others: float

    def row(self, peer: str) -> Row | None:
        """The row of a peer that was measured."""
        return next((row for row in self.rows if row.peer == peer and not row.reason), None)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Measurement":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**fields, "rows": [Row(**row) for row in fields["rows"]]})


@dataclasses.dataclass(frozen=True)
class Slower:
    """A peer that takes more CPU seconds than before.

    Attributes:
      peer: Which.
      before: Median CPU seconds of an update in the earlier measurement.
      after: In the later one.
      spread: Largest difference between rounds of either.
    """

    peer: str
    before: float
    after: float
    spread: float

    def __str__(self) -> str:
        return (
            f"{self.peer} takes {self.after / self.before - 1:.1%} more CPU time:"
            f" {self.after * 1e3:.1f} ms an update, {self.before * 1e3:.1f} before"
            f" (rounds differ by {self.spread * 1e3:.1f})"
        )


def slower(before: Measurement, after: Measurement) -> list[Slower]:
    """The peers that got slower, by more than `TOLERANCE` and by more than their rounds differ."""
    found = []
    for row in after.rows:
        earlier = before.row(row.peer)
        if row.reason or earlier is None:
            continue
        spread = max(max(cpu) - min(cpu) for cpu in (earlier.cpu, row.cpu))
        old, new = statistics.median(earlier.cpu), statistics.median(row.cpu)
        if new - old > max(TOLERANCE * old, spread):
            found.append(Slower(row.peer, old, new, spread))
    return found


def speed(row: Row, baseline: Row, seconds: str) -> float:
    """How fast a peer is as a share of another's speed: the median over rounds measured in turn.

    Args:
      row: Whose.
      baseline: Against which.
      seconds: Which ones, "wall" or "cpu".
    """
    pairs = zip(getattr(row, seconds), getattr(baseline, seconds), strict=True)
    return statistics.median(other / own for own, other in pairs)


def fastest(measurement: Measurement, peers: Iterable[str]) -> Row | None:
    """The one of these peers that took the fewest seconds; None where none was measured."""
    rows = [row for row in map(measurement.row, peers) if row is not None]
    return min(rows, key=lambda row: statistics.median(row.wall), default=None)


def mismatches(rows: Sequence[Row], reference: str) -> dict[str, str]:
    """By peer why it is not comparable: another network, or another kind of device.

    Args:
      rows: All peers, of which those that were not measured are passed over.
      reference: The peer that all others are compared with; without it, the first.
    """
    measured = [row for row in rows if not row.reason]
    if not measured:
        return {}
    right = next((row for row in measured if row.peer == reference), measured[0])
    found = {}
    for row in measured:
        if row.parameters != right.parameters:
            found[row.peer] = (
                f"another network: {row.parameters:,} parameters, {right.peer} has"
                f" {right.parameters:,}"
            )
        elif (row.device == "cpu") != (right.device == "cpu"):
            found[row.peer] = f"ran on {row.device}, {right.peer} on {right.device}"
    return found
