"""Ctrl-C and SIGTERM (a preempted machine): finish the step, save it, leave.

The second one leaves at once.
"""

import signal
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxdrive.errors import UserError


class StoppedError(UserError):
    """Training was stopped by a signal after a checkpoint was saved."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(signal_number).name} at step {step}, which is saved: the"
            " same command goes on from there"
        )
        self.exit_code = 128 + signal_number


class StopRequest:
    """Notes signals while training runs. A context manager; handlers are restored on leaving.

    Attributes:
      number: The signal's number; 0 while there was none.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._previous = {n: signal.signal(n, self._note) for n in self._SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number

    def now(self) -> bool:
        """Whether to stop at this very step. Several processes have to agree, so they go on."""
        return bool(self.number) and jax.process_count() == 1

    def agreed(self) -> bool:
        """Whether any process was asked to stop; at boundaries, where all of them ask."""
        if jax.process_count() > 1:
            numbers = multihost_utils.process_allgather(np.asarray(self.number))
            self.number = int(numbers.max())
        return bool(self.number)
