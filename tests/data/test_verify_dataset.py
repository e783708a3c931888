"""Comparing all bytes of a dataset names whatever is not as it was written."""

import json
import shutil

import old_datasets
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxdrive.data.dataset import open_dataset, verify_dataset
from jaxdrive.errors import UserError


def files_with_a_checksum(folder):
    """Shards, indexes and the label table of the one dataset in a folder."""
    return sorted(folder.glob("*/*array_record*")) + sorted(folder.glob("*/*.parquet"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a dataset, "new", and its stores."""
    folder = tmp_path_factory.mktemp("verified")
    tiny.write(folder / "new", tiny.sessions_of())
    return folder


def test_a_whole_dataset_is_as_it_was_written(written):
    found = verify_dataset(written / "new")
    stores = open_dataset(written / "new").stores
    size = sum(store.size for store in stores)
    assert (found.shards, found.unchecked, found.size) == (len(tiny.SESSIONS), 0, size)
    assert not found.faults


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_changed_byte_is_found_and_its_file_named(written, tmp_path, data):
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(written, copy)
    file = data.draw(st.sampled_from(files_with_a_checksum(copy)))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    (fault,) = verify_dataset(copy / "new").faults
    assert str(file) in fault
    assert f"delete the folder {file.parent} and run `prepare` again" in fault


def test_every_damaged_shard_of_every_store_is_named(written, tmp_path):
    copy = shutil.copytree(written, tmp_path / "copy")
    first, second, third, fourth = sorted(copy.glob("*/*array_record*"))
    first.write_bytes(second.read_bytes())
    second.unlink()
    third.write_bytes(third.read_bytes()[:-1])
    (fourth.parent / "store.json").write_text("{")
    faults = verify_dataset(copy / "new").faults
    assert len(faults) == 4
    told = "\n".join(faults)
    for shard, reason in ((first, "has "), (second, "is missing"), (third, "has ")):
        assert f"{shard} {reason}" in told
        assert f"To mend it, delete the folder {shard.parent} and run `prepare` again" in told
    assert f"{fourth.parent / 'store.json'} is not readable" in told


def test_what_has_no_checksum_is_counted(tmp_path):
    folder = tmp_path / "old"
    old_datasets.write(folder, tiny.sessions_of(), fingerprint="old", source="random")
    assert verify_dataset(folder).shards == len(tiny.SESSIONS)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["shards"][0]["xxh3_128"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = verify_dataset(folder)
    assert (found.shards, found.unchecked) == (len(tiny.SESSIONS) - 1, 1)
    assert not found.faults
    # Its size is known all the same.
    shard = folder / manifest["shards"][0]["file"]
    shard.write_bytes(shard.read_bytes() + b"x")
    (fault,) = verify_dataset(folder).faults
    assert f"{shard} has " in fault
    assert f"delete the folder {folder} and run `prepare` again" in fault


def test_there_has_to_be_a_dataset(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no prepared dataset"):
        verify_dataset(tmp_path)
