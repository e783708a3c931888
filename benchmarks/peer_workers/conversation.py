"""The parent's half of the conversation with a worker, see `protocol.py`."""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Limits, in seconds: Xception compiles for minutes.
_START_SECONDS, _ANSWER_SECONDS = 900, 600
_REASON_LENGTH = 200


class WorkerError(Exception):
    """A worker that cannot be measured; the text says why."""


class Worker:
    """A process that makes updates when it is asked to.

    Attributes:
      about: What the worker said when it was ready.
      startup_wall: Seconds from its start until its first update was made.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        """Starts the worker and waits for its first update.

        Args:
          command: Of the process.
          log: Where its stderr goes.
          environment: Variables that are set beside ours.

        Raises:
          WorkerError: The worker did not come so far.
        """
        self._log = log
        started = time.perf_counter()
        try:
            with log.open("w") as errors:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    cwd=ROOT,
                    env=os.environ | environment,
                )
        except OSError as error:
            raise WorkerError(f"{command[0]} does not start: {error.strerror}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        try:
            self.about = self._answer(_START_SECONDS)
        except WorkerError:
            self.stop()
            raise
        self.startup_wall = time.perf_counter() - started

    def measure(self, updates: int) -> dict[str, float]:
        """{"wall", "cpu": seconds of all updates, "loss": of the last}.

        Raises:
          WorkerError: The worker has failed.
        """
        try:
            self._stdin.write(json.dumps({"updates": updates}) + "\n")
            self._stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._reason()) from None
        return self._answer(_ANSWER_SECONDS)

    def stop(self) -> None:
        """Ends the process."""
        # A process that has ended takes no more input.
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def _answer(self, limit: float) -> dict[str, Any]:
        timer = threading.Timer(limit, self._process.kill)
        timer.start()
        line = self._stdout.readline()
        late = not timer.is_alive()
        timer.cancel()
        if not line:
            raise WorkerError(f"no answer within {limit} s" if late else self._reason())
        return json.loads(line)

    def _reason(self) -> str:
        """The last error in the log, or its last line, or how the process ended."""
        code = self._process.wait()
        lines = self._log.read_text(errors="replace").splitlines()
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
        ended = [f"ended with exit code {code}"]
        return (errors or lines or ended)[-1][:_REASON_LENGTH]
