"""Datasets of schema version 3 are read as they are, and a run on one resumes."""

import numpy as np
import old_datasets
import pytest
import tiny
from test_udacity import settings

from jaxdrive.data import prepare as preparing
from jaxdrive.data import store as stores
from jaxdrive.data.dataset import open_dataset
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.prepare import fingerprints, prepare
from jaxdrive.errors import UserError
from tests.recordings import record


@pytest.fixture
def old(tmp_path):
    """The frames of `small` in the old format."""
    old_datasets.write(tmp_path / "old", tiny.sessions_of(), fingerprint="old", source="random")
    return tmp_path / "old"


def test_an_old_dataset_holds_what_a_new_one_holds(small, old):
    dataset, new = open_dataset(old), small.dataset
    for name in ("splits", "cameras", "sessions", "origins", "times"):
        assert getattr(dataset, name).tolist() == getattr(new, name).tolist()
    for name, values in new.labels.items():
        np.testing.assert_array_equal(dataset.labels[name], values, strict=True)
    ids = np.random.default_rng(0).permutation(len(small.images))
    np.testing.assert_array_equal(ImageReader(dataset).read(ids), small.images[ids], strict=True)
    assert dataset.counts() == new.counts()
    assert not list(stores.verify(dataset.stores))


@pytest.mark.parametrize("file", ["jaxdrive-frames.array_record-00001", "labels.parquet"])
def test_damage_of_an_old_dataset_is_found(old, file):
    (old / file).write_bytes((old / file).read_bytes()[:-1])
    with pytest.raises(UserError) as caught:
        open_dataset(old)
    assert str(caught.value).startswith(f"damaged dataset: {old / file} ")
    assert f"delete the folder {old} and run `prepare` again" in str(caught.value)


def test_an_old_dataset_is_used_where_it_exists(tmp_path, monkeypatch):
    record(tmp_path / "run", 20)
    data = settings(tmp_path / "run", dir=str(tmp_path / "datasets"))
    new, old = fingerprints(data)
    sessions = preparing.udacity.sessions(data, preparing.udacity.find(data))
    old_datasets.write(tmp_path / "datasets" / old, sessions, fingerprint=old, source="udacity")
    assert fingerprints(data) == (old, new)
    assert prepare(data).path.name == old
    # What an earlier jaxdrive did not know is prepared.
    folds = data | {"split": data["split"] | {"block_seconds": 0.1, "folds": 3}}
    dataset = prepare(folds)
    assert dataset.path.name == fingerprints(folds)[0] not in (old, new)
    assert [path.name for path in (tmp_path / "datasets").glob("images-*")]
