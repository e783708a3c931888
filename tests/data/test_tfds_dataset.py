"""Any prepared TFDS dataset is a source, read without TensorFlow; what is wrong with it is told."""

import numpy as np
import pytest

from configs import default
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.prepare import label_names, prepare
from jaxdrive.data.sources import tfds_dataset
from jaxdrive.errors import UserError
from tests import tfds_toy


def settings(path, *, tfds=None, **changes) -> dict:
    config = default.get_config().data.to_dict()
    mapping = {
        "image": "observation/image",
        "labels": {"steering": "action/0", "throttle": "action/1", "brake": "", "speed": ""},
        "session": "episode",
        "time": "seconds",
        "camera": "",
    }
    fit = {"height": 16, "width": 32, "path": str(path), "dir": str(path / "prepared")}
    source = {"source": f"tfds:{tfds_toy.NAME}", "tfds": mapping | (tfds or {})}
    return config | fit | source | changes


def test_examples_are_frames_of_their_episodes_and_splits(tmp_path):
    data = settings(tfds_toy.write(tmp_path, {"train": 30, "validation": 10, "test": 20}))
    dataset = prepare(data)
    assert label_names(data) == ("steering", "throttle")
    expected = [
        (split, example)
        for split, count in (("train", 30), ("validation", 10), ("test", 20))
        for example in tfds_toy.examples(count)
    ]
    order = [list(dataset.manifest["settings"]["splits"]).index(s) for s, _ in expected]
    expected = [expected[i] for i in np.argsort(order, kind="stable")]
    assert dataset.splits.tolist() == [split for split, _ in expected]
    assert dataset.sessions.tolist() == [f"{split}/{e['episode']}" for split, e in expected]
    np.testing.assert_allclose(dataset.times, [e["seconds"] for _, e in expected], rtol=1e-6)
    for column, name in enumerate(("steering", "throttle")):
        values = np.array([e["action"][column] for _, e in expected])
        np.testing.assert_array_equal(dataset.labels[name], values)
    images = ImageReader(dataset).read(np.arange(60))
    np.testing.assert_array_equal(images, [e["observation"]["image"] for _, e in expected])


def test_one_split_without_sessions_and_times_is_split_in_blocks(tmp_path):
    split = {"block_seconds": 0.5, "gap_seconds": 0.0, "validation": 0.3, "test": 0.3}
    tfds = {"session": "", "time": ""}
    data = settings(tfds_toy.write(tmp_path, {"train": 100}), tfds=tfds, split=split)
    dataset = prepare(data)
    assert set(dataset.sessions) == {"train"}
    np.testing.assert_allclose(dataset.times, np.arange(100) / 20)
    assert set(dataset.splits) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": "tfds:no_such_thing"}, "there is no prepared dataset of that name in"),
        ({"tfds": {"image": "picture"}}, r"data.tfds.image='picture': .* no such feature. It has"),
        ({"tfds": {"labels": {"steering": "wheel"}}}, r"data.tfds.labels.steering='wheel'"),
        ({"tfds": {"labels": {"steering": ""}}}, r"data.tfds.labels names no feature"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, changes, told):
    data = settings(tfds_toy.write(tmp_path, {"train": 10}), **changes)
    with pytest.raises(UserError, match=told):
        tfds_dataset.sessions(data, tfds_dataset.find(data))


def test_files_without_random_access_are_named(tmp_path):
    folder = tfds_toy.write(tmp_path, {"train": 10}) / tfds_toy.NAME / "1.0.0"
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for file in folder.glob("*.array_record-*"):
        file.rename(file.with_name(file.name.replace("array_record", "tfrecord")))
    with pytest.raises(UserError, match=r"are tfrecord, which has no random access. Convert"):
        tfds_dataset.sessions(settings(tmp_path), tfds_dataset.find(settings(tmp_path)))


def test_a_record_that_cannot_be_read_is_a_bad_row(tmp_path, monkeypatch):
    data = settings(tfds_toy.write(tmp_path, {"train": 10}))
    (session,) = tfds_dataset.sessions(data, tfds_dataset.find(data))
    real = tfds_dataset._image
    monkeypatch.setattr(
        tfds_dataset, "_image", lambda value: real(value if value.sum() % 2 else value[..., :2])
    )
    reasons = [getattr(item, "reason", None) for item in session.read()]
    odd = [example["observation"]["image"].sum() % 2 for example in tfds_toy.examples(10)]
    assert reasons == [None if o else "no picture in colour or grey" for o in odd]
    assert 0 < sum(odd) < 10
