"""What a server of predictions counts while it drives: how many, how fast, and what went wrong."""

import collections
import dataclasses

import numpy as np

# Of the latest answers; enough for two hours, in less than 10 MB.
_KEPT = 200_000
# Nobody drove in a longer pause between two answers.
_PAUSE_SECONDS = 2.0


def _latest() -> collections.deque[float]:
    return collections.deque(maxlen=_KEPT)


@dataclasses.dataclass
class Figures:
    """Counts since it was made.

    Attributes:
      predictions: Answers that the network gave.
      manual: Telemetry of a car that a person drives.
      troubles: By what was wrong, how often.
      driven_seconds: From answer to answer, pauses left out.
      answer_seconds: Of every prediction, from its telemetry to the answer.
      prediction_seconds: What of it the network took, its picture's fitting included.
    """

    predictions: int = 0
    manual: int = 0
    troubles: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    driven_seconds: float = 0.0
    answer_seconds: collections.deque[float] = dataclasses.field(default_factory=_latest)
    prediction_seconds: collections.deque[float] = dataclasses.field(default_factory=_latest)
    _last: float | None = None

    def predicted(self, *, received: float, answered: float, prediction_seconds: float) -> None:
        """Counts a prediction; `received` and `answered` are seconds of one clock."""
        self.predictions += 1
        self.answer_seconds.append(answered - received)
        self.prediction_seconds.append(prediction_seconds)
        # The first one took at least the time from its telemetry on.
        since = received if self._last is None else self._last
        if answered - since < _PAUSE_SECONDS:
            self.driven_seconds += answered - since
        self._last = answered

    def following(self) -> "Figures":
        """Counts from now on; the last answer here is what its first one follows."""
        return Figures(_last=self._last)

    def lines(self) -> list[str]:
        """Predictions, their rate and latency, then what else came; empty where nothing did."""
        lines = []
        if self.predictions:
            rate = self.predictions / self.driven_seconds if self.driven_seconds else 0.0
            lines.append(
                f"{self.predictions:,} predictions, {rate:,.1f} a second;"
                f" answer {_percentiles(self.answer_seconds)};"
                f" prediction alone {_percentiles(self.prediction_seconds)}"
            )
        if self.manual:
            lines.append(f"{self.manual:,} x a person at the wheel")
        lines += [f"{count:,} x {trouble}" for trouble, count in self.troubles.most_common()]
        return lines


def _percentiles(seconds: collections.deque[float]) -> str:
    half, most = np.percentile(np.asarray(seconds), [50, 95]) * 1e3
    return f"p50 {half:.1f} ms, p95 {most:.1f} ms"
