"""Where messages for the user go: one logger and progress bars, on the console of `launch.py`."""

import logging
import sys

from tqdm import tqdm

logger = logging.getLogger("jaxdrive")


def to_console(*, quiet: bool) -> None:
    """Shows messages on standard output; a quiet process shows warnings and errors alone."""
    # Whoever reads the first lines alone (`| head`) is not to get Python's complaint about it.
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def progress_bar(*, total: int, description: str, unit: str) -> tqdm:
    """A bar with rate and time left; in a log file a line every now and then instead."""
    seconds = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        mininterval=seconds,
        maxinterval=seconds,
        dynamic_ncols=True,
    )


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 shard", "8 shards"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
