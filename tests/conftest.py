"""Every test runs on four fake CPU devices and with strict promotion of dtypes and ranks."""

import os
from pathlib import Path

from tests.devices import xla_flags

os.environ["XLA_FLAGS"] = xla_flags(4)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def parse(monkeypatch):
    """parse("train", "--flag", ...), as `launch.py` would."""
    from jaxdrive import command_line

    # Configurations import each other from the root, wherever the command was given.
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    return lambda *words: command_line.parse(["launch.py", *words], help_text="what the verbs do")
