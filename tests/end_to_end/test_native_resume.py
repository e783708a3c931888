"""A run with native convolutions resumes where there are none, with the same compilation cache."""

import shutil
import subprocess

import pytest

from jaxdrive.native import library
from tests.end_to_end.conftest import ROOT, environment, final_state


@pytest.mark.skipif(
    library.load() is None, reason="needs pip install -e '.[native]' and a C++ compiler"
)
def test_a_run_resumes_where_the_library_cannot_be_compiled(trained, launch, tmp_path):
    workdir = shutil.copytree(trained, tmp_path / "run")
    fields = {"num_steps": 28, "drive.tracks": 0}
    done = subprocess.run(
        launch.command("train", workdir=workdir, **fields),
        cwd=ROOT,
        env=environment() | {"PATH": "", "XDG_CACHE_HOME": str(tmp_path), "CXX": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no C++ compiler was found") == 1
    assert "convolutions by oneDNN" not in done.stdout
    assert "native convolutions were used in one case alone" in done.stdout
    assert final_state(workdir).step == 28

    again = launch("train", workdir=workdir, **fields | {"num_steps": 32, "native": "off"})
    assert again.returncode == 0, again.stderr
    assert "Changed at step 28: config.native: 'auto' -> 'off'" in again.stdout
    assert "C++" not in again.stdout
    assert "native convolutions were used" not in again.stdout
