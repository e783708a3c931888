"""From a dataset of TFDS to the report, without TensorFlow."""

import json

from tests import tfds_toy
from tests.end_to_end.test_bad_input import assert_refused
from tests.end_to_end.test_donkey import FIELDS

FEATURES = {
    "data.tfds.image": "observation/image",
    "data.tfds.labels.steering": "action/0",
    "data.tfds.session": "episode",
    "data.tfds.time": "seconds",
}


def test_from_a_tfds_dataset_to_the_report(launch, tmp_path):
    tfds_toy.write(tmp_path / "tfds", {"train": 60, "validation": 20, "test": 20})
    words = (
        f"--config=configs/tfds.py:{tfds_toy.NAME}",
        f"--config.data.path={tmp_path / 'tfds'}",
    )
    fields = {**FIELDS, **FEATURES, "data.crop_top": 0, "data.split.block_seconds": 0}
    done = launch("train", *words, workdir=tmp_path / "run", **fields)
    assert done.returncode == 0, done.stdout + done.stderr
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["frames"] == 20
    assert list(evaluation["heads"]) == ["steering"]
    assert (tmp_path / "run" / "report.html").exists()
    wrong = fields | {"data.tfds.image": "picture"}
    assert_refused(
        launch("prepare", *words, workdir=tmp_path, **wrong), "data.tfds.image='picture'"
    )
