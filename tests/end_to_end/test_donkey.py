"""From a Donkeycar's tub to a part of the car that does what evaluation measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxdrive import workdir as workdirs
from jaxdrive.data.dataset import open_dataset
from jaxdrive.driving.donkey import Pilot
from jaxdrive.errors import UserError
from jaxdrive.evaluation import offline
from jaxdrive.heads import commands
from tests import tubs

FIELDS = {
    "num_steps": 4,
    "log_every": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
    "batch_size": 4,
    "data.crop_top": 8,
    "data.crop_bottom": 0,
    "data.height": 61,
    "data.width": 61,
    "data.resize": "pad",
    "data.split.block_seconds": 0.5,
    "data.split.gap_seconds": 0.1,
    "model.batch_norm.use": False,
    "drive.tracks": 0,
}


@pytest.fixture(scope="module")
def driven(launch, tmp_path_factory):
    """The workdir of a run on a tub with one damaged picture."""
    folder = tmp_path_factory.mktemp("car")
    tubs.record(folder / "tub", 240, size=(80, 64), deleted=[3])
    (folder / "tub" / "images" / "9_cam_image_array_.jpg").write_bytes(b"")
    words = ("--config=configs/donkey.py:pedals", f"--config.data.path={folder / 'tub'}")
    done = launch("train", *words, workdir=folder / "run", **FIELDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Of 239 frames, 1 are bad: image empty (1)" in done.stdout
    return folder


def test_the_part_says_what_evaluation_measured(driven):
    workdir = epath.Path(driven / "run")
    config = workdirs.read_config(workdir)
    dataset = open_dataset(Path(json.loads((workdir / "run.json").read_text())["dataset"]["path"]))
    found = offline.predict(config, workdir, dataset, step=None, split="test")
    told = {}
    for name, head in found.heads.items():
        told |= commands(head, found.targets[name])
    pilot = Pilot(driven / "run")
    assert pilot.step == found.step
    for row, record in enumerate(found.ids[:10]):
        number = int(dataset.origins[record].split("row ")[1].split(",")[0]) - 1
        with Image.open(driven / "tub" / "images" / f"{number}_cam_image_array_.jpg") as picture:
            angle, throttle = pilot.run(np.asarray(picture))
        assert angle == pytest.approx(told["steering"][row], abs=1e-5)
        assert throttle == pytest.approx(told["throttle"][row] - told["brake"][row], abs=1e-5)
    assert pilot.run(None) == (0.0, 0.0)
    pilot.shutdown()


def test_a_network_that_cannot_drive_a_donkeycar_is_refused(driven, trained):
    with pytest.raises(UserError, match=r"needs speed beside the picture.*configs/donkey\.py"):
        Pilot(trained)
    with pytest.raises(UserError, match=r"throttle has to be from -1 to 1, found 3\.0"):
        Pilot(driven / "run", throttle=3.0)
    with pytest.raises(UserError, match="there is no checkpoint of step 3"):
        Pilot(driven / "run", step=3)
    with pytest.raises(UserError, match="holds no run"):
        Pilot(driven / "tub")
