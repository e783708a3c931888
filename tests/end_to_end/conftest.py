"""Runs the verbs as a user does: through launch.py, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
from etils import epath

from jaxdrive import durations
from jaxdrive import workdir as workdirs
from jaxdrive.training import checkpoint
from jaxdrive.training.parts import make_init, make_network
from jaxdrive.training.writers import read_metrics
from tests.devices import xla_flags

ROOT = Path(__file__).parents[2]

# What differs from run to run: times and memory.
_MEASURED = ("images_per_second", "waiting_share", "seconds_left", "memory_gb", "memory_peak_gb")

# Small enough for seconds, large enough that every part has something to do.
TINY = {
    "num_steps": 24,
    "log_every": 4,
    "eval_every": 8,
    "checkpoint_every": 4,
    "keep_every": 8,
    "alarm.skill_patience": 8,
    "batch_size": 8,
    "passes": "one",
    "data.episodes": 1,
    "data.validation_episodes": 1,
    "data.test_episodes": 1,
    "data.max_steps": 60,
    # A head of each kind.
    "heads.steering.kind": "classification",
    "heads.throttle.loss": "huber",
    "heads.throttle.weight": 2.0,
    "model.channels": "(4,8,8)",
    "model.batch_norm.use": True,
    "optim.warmup_steps": 4,
    "views": "fourteen",
    "augment.flip.probability": 0.5,
    "augment.shift.sideways": 2,
    "augment.shift.label_per_pixel.steering": 0.01,
    "augment.colour_mix.spread": 0.3,
    "drive.tracks": 1,
}


def environment(devices: int = 1) -> dict[str, str]:
    flags = xla_flags(devices)
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}


class Launcher:
    """Calls launch.py on datasets that the tests of a session share."""

    def __init__(self, datasets: Path) -> None:
        self.datasets = datasets

    def command(self, verb: str, *words: str, workdir: Path, **fields) -> list[str]:
        tiny = TINY
        if any(word.startswith("--config=") for word in words):
            # Another configuration may have other heads.
            tiny = {name: value for name, value in TINY.items() if not name.startswith("heads.")}
        settings = {"data.dir": self.datasets} | tiny | fields
        if verb in ("evaluate", "drive", "inspect", "compare", "datasets"):
            settings = fields
        else:
            words = ("--config=configs/quickstart.py", *words)
        overrides = [f"--config.{name}={value}" for name, value in settings.items()]
        # Relative, as the README's.
        folder = os.path.relpath(workdir, ROOT)
        return [sys.executable, "launch.py", verb, f"--workdir={folder}", *words, *overrides]

    def __call__(self, verb: str, *words: str, workdir: Path, devices: int = 1, **fields):
        """Runs a command to its end; the result has returncode, stdout and stderr."""
        return subprocess.run(
            self.command(verb, *words, workdir=workdir, **fields),
            cwd=ROOT,
            env=environment(devices),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def start(self, verb: str, *words: str, workdir: Path, devices: int = 1, **fields):
        """Starts a command in a process group of its own and leaves it running."""
        return subprocess.Popen(
            self.command(verb, *words, workdir=workdir, **fields),
            cwd=ROOT,
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="session")
def launch(tmp_path_factory) -> Launcher:
    return Launcher(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="session")
def trained(launch, tmp_path_factory) -> Path:
    """The workdir of a finished run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("runs") / "trained"
    done = launch("train", workdir=workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir


def wait_for(condition, process: subprocess.Popen, seconds: float = 120) -> None:
    """Waits until `condition()`; fails with the output where the process ends before."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.stdout.read()}")
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail("waited in vain")
        time.sleep(0.01)


def steps_saved(workdir: Path) -> list[int]:
    folder = workdir / checkpoint.FOLDER
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


def _network_and_init(workdir: Path):
    config = durations.resolve(workdirs.read_config(epath.Path(workdir)), 100.0)
    network = make_network(config, (config["data"]["height"], config["data"]["width"], 3))
    return network, make_init(config, network)


def fresh_state(workdir: Path):
    """The state that the run in `workdir` started from, on the host."""
    return jax.device_get(_network_and_init(workdir)[1]())


def final_state(workdir: Path):
    """The state of the newest checkpoint, on the host."""
    network, init = _network_and_init(workdir)
    with checkpoint.open_manager(epath.Path(workdir), read_only=True) as manager:
        state = checkpoint.restore_latest(
            manager, jax.eval_shape(init), network.partition.state_sharding
        )
    return jax.device_get(state)


def numbers(workdir) -> list[dict]:
    """metrics.jsonl without times and memory."""
    lines = read_metrics(epath.Path(workdir) / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.endswith(_MEASURED)} for line in lines]
