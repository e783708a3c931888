"""Every test runs on four fake CPU devices and with strict promotion of dtypes and ranks."""

import os
from pathlib import Path

# XLA ends a process whose devices wait for each other for 40 s, which busy cores can take.
PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=300"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=4 {PATIENT}"
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
