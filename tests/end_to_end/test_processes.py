"""Several processes: the same parameters as one process, one set of logs, one dataset."""

import socket

import numpy as np
from jax.flatten_util import ravel_pytree

from jaxdrive.compilation_cache import FOLDER
from tests.end_to_end.conftest import Launcher, final_state, fresh_state, numbers


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_equal_one(tmp_path):
    workdir, alone = tmp_path / "together", tmp_path / "alone"
    launch = Launcher(tmp_path / "datasets")
    coordinator = f"--coordinator=127.0.0.1:{free_port()}"
    # Native convolutions divide their sums by the threads of a process, which differ here.
    native = {"native": "off"}
    running = [
        launch.start(
            "train",
            coordinator,
            "--num_processes=2",
            f"--process_id={index}",
            workdir=workdir,
            devices=2,
            **native,
        )
        for index in range(2)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)
    single = launch("train", workdir=alone, devices=4, **native, **{"drive.tracks": 0})
    assert single.returncode == 0, single.stderr

    together, one = final_state(workdir), final_state(alone)
    assert (together.step, together.position) == (one.step, one.position) == (24, 24)
    a, b, start = (
        np.asarray(ravel_pytree(state.params)[0]) for state in (together, one, fresh_state(alone))
    )
    # Adam in float32, with sums in another order; a lost or doubled row changes a tenth and more.
    assert np.linalg.norm(a - b) < 1e-3 * np.linalg.norm(b - start)
    for a, b in zip(numbers(workdir), numbers(alone), strict=True):
        assert a["train/steering/drawn"] == b["train/steering/drawn"]
        np.testing.assert_allclose(a["train/loss"], b["train/loss"], rtol=1e-4)
    for name in ("evaluation.json", "drive.json", "report.html", "drive.mp4"):
        assert (workdir / name).exists()
    assert [line["step"] for line in numbers(workdir)] == list(range(4, 25, 4))
    assert len(list((workdir / "tensorboard").iterdir())) == 1
    # Each process that prepares draws a bar of its own.
    assert sum("prepare:" in output for output in outputs) == 1
    # Both load and store programs in the same folder, as one process does.
    assert not any("ache" in output for output in outputs)
    assert list((tmp_path / "datasets" / FOLDER).glob("*/jit_train_step-*-cache"))
    # What both would say is said once.
    assert outputs[0].count("step 24/24") + outputs[1].count("step 24/24") == 1
