"""Measurements as Markdown: a table for every workload."""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.peer_workers.measurement import Measurement, Row, fastest, speed

# The faster one of these is what the others are compared with.
BASELINES = ("keras-tf", "keras-tf-xla", "tf.data-memory", "tf.data-records")

_HEAD = """\
# Our train step and our loader beside those of others

`python -m benchmarks.peers` measures, writes this page and compares with the run before.

- Every peer trains the same network on the same random images. An update starts from NumPy arrays
  and ends when the losses are on the host. Each head has its own batch, the gradients are added,
  and Adam makes one update of all weights.
- Every peer is a process of its own with its library's fastest settings. They work in turn, round
  after round, each on all cores. Ours also computes metrics and checks that gradients are finite.
- Rows show medians over the rounds, and in brackets the smallest and the largest. CPU time is that
  of all threads and processes.
- Speed is relative to the faster row of TensorFlow: 2 is twice as fast. It is the median of the
  ratios of each round, by wall time and by CPU time.
- Start-up is from the start of the process to the end of its first update, with nothing compiled
  before.
- The loaders deliver batches to the host. "ours" draws balanced batches and reads ArrayRecord; "in
  memory" and DataLoader get the same draws as a list, and gather from a tensor and from a mapped
  file; "TFRecord" reads files in order through a shuffle buffer, without balance.
"""


def page(machines: Mapping[str, Mapping[str, Measurement]]) -> str:
    """The whole page.

    Args:
      machines: By machine and workload, the latest measurement.
    """
    parts = [_HEAD]
    for machine, measurements in machines.items():
        parts.append(f"## {machine}\n")
        parts += [section(measurement) for measurement in measurements.values()]
    return "\n".join(parts)


def section(measurement: Measurement) -> str:
    """The table of one workload."""
    baseline = fastest(measurement, BASELINES)
    compared = f"speed of {baseline.title}" if baseline else "speed"
    lines = [
        f"### {measurement.text}\n",
        "| | images/s | ms an update | CPU ms an update | CPU s per 1,000 images |"
        f" {compared}, wall | CPU | start-up, wall s | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_line(row, measurement.images, baseline) for row in measurement.rows),
        "",
        _footer(measurement),
    ]
    return "\n".join(lines)


def _line(row: Row, images: int, baseline: Row | None) -> str:
    if row.reason:
        return f"| {row.title} | not measured: {row.reason} " + "| " * 7 + "|"
    wall, cpu = statistics.median(row.wall), statistics.median(row.cpu)
    cells = [
        row.title,
        f"{images / wall:,.{0 if images / wall > 100 else 1}f}",
        _spread(row.wall),
        _spread(row.cpu),
        f"{1000 * cpu / images:.3g}",
        *(f"{speed(row, baseline, kind):.2f}" if baseline else "" for kind in ("wall", "cpu")),
        f"{row.startup_wall:.1f}",
        f"{row.startup_cpu:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _spread(seconds: Sequence[float]) -> str:
    median, least, most = (1e3 * f(seconds) for f in (statistics.median, min, max))
    digits = 0 if median >= 100 else 1 if median >= 10 else 2
    return f"{median:,.{digits}f} ({least:,.{digits}f} to {most:,.{digits}f})"


def _footer(measurement: Measurement) -> str:
    rows = [row for row in measurement.rows if not row.reason]
    versions: dict[str, set[str]] = {}
    for row in rows:
        for name, version in row.versions.items():
            versions.setdefault(name, set()).add(version)
    known = ", ".join(f"{name} {' and '.join(sorted(own))}" for name, own in versions.items())
    before, after = measurement.load
    parameters = max((row.parameters for row in rows), default=0)
    network = f"{parameters:,} parameters and moving averages each. " if parameters else ""
    return (
        f"{network}{measurement.date}, commit {measurement.commit}, {measurement.rounds} rounds."
        f" Other work took {measurement.others:.0%} of the cores (median of the rounds); load"
        f" average {before:.1f} before, {after:.1f} after. {known}.\n"
    )
