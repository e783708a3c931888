"""metrics.jsonl, TensorBoard, heldout.png and the console, all behind CLU's MetricWriter.

CLU's own package imports TensorFlow for its event files; a writer of the same name based on
tensorboardX takes that place here before CLU is imported, so this file must come first. It is put
there even where TensorFlow is installed, with recent versions of which CLU's own fails.
"""

import io
import json
import sys
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from jaxdrive.logs import logger
from jaxdrive.training import windowed

_REPLACED = "clu.metric_writers.summary_writer"


class _NoSummaryWriter:
    """Stands where CLU looks for its TensorFlow writer, which nothing here uses."""


if _REPLACED not in sys.modules:
    module = types.ModuleType(_REPLACED)
    module.SummaryWriter = _NoSummaryWriter  # type: ignore[attr-defined]
    sys.modules[_REPLACED] = module

from clu import metric_writers  # noqa: E402

METRICS_FILE = "metrics.jsonl"
HELD_OUT_FILE = "heldout.png"
_HISTOGRAM_BINS = 50
Scalars = Mapping[str, Any]


class _Writer(metric_writers.MetricWriter):
    """Leaves out every kind of value; subclasses take the kinds that they can show."""

    def write_summaries(
        self, step: int, values: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> None:
        del step, values, metadata

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        del step, scalars

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        del step, images

    def write_videos(self, step: int, videos: Mapping[str, np.ndarray]) -> None:
        del step, videos

    def write_audios(
        self, step: int, audios: Mapping[str, np.ndarray], *, sample_rate: int
    ) -> None:
        del step, audios, sample_rate

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        del step, texts

    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        del step, arrays, num_buckets

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        del hparams

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.flush()


class JsonLinesWriter(_Writer):
    """One line of JSON a step, with its scalars and its summaries (lists of numbers).

    A step's line is written by `flush`, before its checkpoint is saved, so that a run that is
    killed and resumed has neither gap nor double.
    """

    def __init__(self, path: epath.Path, *, resumed_step: int) -> None:
        """Opens `path`, without the lines after `resumed_step`."""
        self._path = path
        self._pending: dict[int, dict[str, Any]] = {}
        kept = [line for line in read_metrics(path) if line["step"] <= resumed_step]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
        partial.replace(path)

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        """Notes numbers as they are and None, the skill on a constant label, as null.

        What diverged stays told apart from it: Python's json writes and reads NaN and Infinity.
        """
        line = self._pending.setdefault(step, {"step": step})
        line.update({name: None if v is None else float(v) for name, v in scalars.items()})

    def write_summaries(
        self, step: int, values: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Notes lists of numbers."""
        line = self._pending.setdefault(step, {"step": step})
        line.update({name: np.asarray(value).tolist() for name, value in values.items()})

    def flush(self) -> None:
        """Appends what was noted."""
        if self._pending:
            text = "".join(json.dumps(line) + "\n" for line in self._pending.values())
            if "://" in str(self._path):
                # Buckets cannot append: opening one of their files for it would empty it.
                self._path.write_text(self._path.read_text() + text)
            else:
                with self._path.open("a") as file:
                    file.write(text)
            self._pending.clear()


def read_metrics(path: epath.Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics file; nothing where there is none. A torn last line is left out."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


class TensorBoardWriter(_Writer):
    """Event files for TensorBoard.

    tensorboardX's SummaryWriter hands events to a queue that its `flush` does not wait for, so that
    a killed run would lose some; its parts are used here without the queue.
    """

    def __init__(self, folder: epath.Path, *, resumed_step: int) -> None:
        """Later steps that an interrupted run wrote are hidden by TensorBoard."""
        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        self._write(resumed_step + 1, session_log=SessionLog(status=SessionLog.START))

    def _write(self, step: int, **content: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        """Writes the numbers that there are."""
        for name, value in scalars.items():
            if value is not None:
                self._write(step, summary=summary.scalar(name, float(value)))

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, each uint8 [H, W, 3]."""
        for name, image in images.items():
            self._write(step, summary=summary.image(name, image, dataformats="HWC"))

    def write_histograms(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        num_buckets: Mapping[str, int] | None = None,
    ) -> None:
        """Writes a histogram of every array's values."""
        for name, values in arrays.items():
            self._write(step, summary=summary.histogram(name, values, bins=_HISTOGRAM_BINS))

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Writes Markdown."""
        for name, text in texts.items():
            self._write(step, summary=summary.text(name, text))

    def flush(self) -> None:
        """Writes what is buffered."""
        self._events.flush()

    def close(self) -> None:
        """Ends the event file."""
        self._events.close()


class PictureWriter(_Writer):
    """The newest picture of a name as a file, for the report."""

    def __init__(self, workdir: epath.Path, files: Mapping[str, str]) -> None:
        """Keeps the pictures named in `files` under the file names given there."""
        self._workdir = workdir
        self._files = files

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, each uint8 [H, W, 3], whole or not at all."""
        for name in self._files.keys() & images.keys():
            buffer = io.BytesIO()
            Image.fromarray(images[name]).save(buffer, format="png")
            path = self._workdir / self._files[name]
            partial = path.with_name(path.name + ".partial")
            partial.write_bytes(buffer.getvalue())
            partial.replace(path)


class ConsoleWriter(_Writer):
    """A line for a step, and one more where held-out frames were scored."""

    def __init__(self, *, heads: Sequence[str], num_steps: int) -> None:
        self._heads = heads
        self._num_steps = num_steps

    def write_scalars(self, step: int, scalars: Scalars) -> None:
        """Shows epoch, losses, skills, learning rate, speed, waiting, memory and time left."""
        parts = [f"step {step}/{self._num_steps}", f"epoch {scalars['train/epoch']:.1f}"]
        parts.append(f"loss {scalars['train/loss']:.4f}")
        parts += [
            f"{head} {_loss(scalars[f'train/{head}/loss'])}"
            f" skill {_text(scalars[f'train/{head}/skill'])}"
            for head in self._heads
        ]
        parts.append(f"rate {scalars['train/learning_rate']:.1e}")
        parts.append(f"{scalars['train/images_per_second']:,.0f} images/s")
        parts.append(f"waiting for data {scalars['train/waiting_share']:.0%}")
        parts.append(f"memory {scalars['train/host_memory_gb']:.1f} GB")
        if "train/device_memory_peak_gb" in scalars:
            parts.append(
                f"device memory {scalars['train/device_memory_gb']:.1f} GB,"
                f" peak {scalars['train/device_memory_peak_gb']:.1f} GB"
            )
        minutes, seconds = divmod(round(scalars["train/seconds_left"]), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
        logger.info("%s", " | ".join(parts))
        if "validation/skill" in scalars:
            skills = [
                f"{head} {_text(scalars[f'validation/{head}/skill'])}" for head in self._heads
            ]
            balanced = [_text(scalars[f"validation/{head}/balanced_skill"]) for head in self._heads]
            errors = [f"{head} {scalars[f'validation/{head}/mse']:.4f}" for head in self._heads]
            followed = [
                f"{head}, means over {one['seconds']:g} s: {windowed.ratio_text(one)} | "
                for head in self._heads
                if (one := windowed.from_logged(head, scalars)) is not None
            ]
            logger.info(
                "    held out: %sskill %s | balanced %s | mse %s",
                "".join(followed),
                " ".join(skills),
                " ".join(balanced),
                " ".join(errors),
            )


def _loss(value: float | None) -> str:
    return "(no example counted)" if value is None else f"{value:.4f}"


def _text(skill: float | None) -> str:
    return "(constant label)" if skill is None else f"{skill:.3f}"


def make_writer(
    workdir: epath.Path, *, heads: Sequence[str], num_steps: int, resumed_step: int
) -> metric_writers.MetricWriter:
    """Writes to all places of a run, going on after `resumed_step`."""
    return metric_writers.MultiWriter(
        [
            JsonLinesWriter(workdir / METRICS_FILE, resumed_step=resumed_step),
            TensorBoardWriter(workdir / "tensorboard", resumed_step=resumed_step),
            PictureWriter(workdir, {"validation/frames": HELD_OUT_FILE}),
            ConsoleWriter(heads=heads, num_steps=num_steps),
        ]
    )


def silent_writer() -> metric_writers.MetricWriter:
    """Writes nowhere: for processes other than the first."""
    return metric_writers.MultiWriter([])
