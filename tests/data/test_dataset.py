"""What is read back is what was written, by our reader and by plain TFDS; damage is noticed."""

import concurrent.futures
import dataclasses
import functools
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
import tiny
import xxhash
from array_record.python.array_record_module import ArrayRecordReader
from tensorflow_datasets.proto import tf_example_pb2

from jaxdrive.data import parts, shards
from jaxdrive.data.dataset import open_dataset
from jaxdrive.data.frames import Session
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.record import image_bytes
from jaxdrive.errors import UserError


def shard_files(path):
    return sorted(path.glob("*.array_record-*"))


def records_of(file) -> list[bytes]:
    reader = ArrayRecordReader(str(file))
    records = reader.read_all()
    reader.close()
    return records


def test_table_says_what_was_recorded(small):
    dataset = small.dataset
    assert dataset.image_shape == (tiny.HEIGHT, tiny.WIDTH, 3)
    assert dataset.labels.keys() == set(tiny.LABELS)
    for name, values in small.labels.items():
        np.testing.assert_array_equal(dataset.labels[name], values, strict=True)
    split_of_session = dict(zip("abcd", [split for _, split in tiny.SESSIONS], strict=True))
    expected = [split_of_session[name] for name in small.sessions]
    assert dataset.splits.tolist() == expected
    for split in ("train", "validation", "test"):
        ids = dataset.ids(split)
        assert ids.dtype == np.int32
        assert ids.tolist() == [row for row, name in enumerate(expected) if name == split]
        assert dataset.manifest["frames"][split] == len(ids)
        driving = [row for row in ids.tolist() if small.cameras[row] == "center"]
        assert dataset.driving_ids(split).tolist() == driving
    table = pq.read_table(dataset.path / shards.TABLE)
    assert table["session"].to_pylist() == small.sessions
    assert table["time"].to_pylist()[:3] == [0.0, 1 / 25, 2 / 25]
    assert table["origin"].to_pylist()[-1] == "session 3, row 4"
    assert table["camera"].to_pylist() == small.cameras


def test_pictures_come_in_the_order_asked_for_from_any_thread(small):
    reader = ImageReader(small.dataset)
    count = len(small.images)
    generator = np.random.default_rng(0)
    orders = [np.arange(count), *(generator.integers(0, count, 30) for _ in range(20))]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for ids, images in zip(orders, pool.map(reader.read, orders), strict=True):
            np.testing.assert_array_equal(images, small.images[ids], strict=True)
    assert reader.read(np.array([], np.int32)).shape == (0, tiny.HEIGHT, tiny.WIDTH, 3)


def test_plain_tfds_reads_the_same(small):
    builder = tfds.builder_from_directory(small.dataset.path)
    source = builder.as_data_source("frames")
    assert len(source) == len(small.images)
    for row, example in enumerate(source):
        np.testing.assert_array_equal(example["image"], small.images[row], strict=True)
        assert example["labels"].keys() == set(tiny.LABELS)
        for name, value in example["labels"].items():
            assert np.float32(value) == small.labels[name][row]


def test_image_bytes_are_those_of_a_parsed_example(small):
    seen = 0
    for file in shard_files(small.dataset.path):
        for record in records_of(file):
            example = tf_example_pb2.Example.FromString(record)
            (expected,) = example.features.feature["image"].bytes_list.value
            assert bytes(image_bytes(record)) == expected == small.images[seen].tobytes()
            seen += 1
    assert seen == len(small.images)


def test_the_manifest_knows_the_shards(small):
    for shard in small.dataset.manifest["shards"]:
        content = (small.dataset.path / shard["file"]).read_bytes()
        assert shard["bytes"] == len(content)
        assert shard["xxh3_128"] == xxhash.xxh3_128_hexdigest(content)


def test_a_session_may_fill_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_SHARD_BYTES", 1000)
    whole = tiny.make(tmp_path / "dataset")
    lengths = [shard["records"] for shard in whole.dataset.manifest["shards"]]
    files = shard_files(whole.dataset.path)
    assert len(lengths) == len(files) > 2 * len(tiny.SESSIONS)
    for length, file in zip(lengths, files, strict=True):
        records = records_of(file)
        assert len(records) == length
        assert sum(map(len, records)) <= 1000
    reader = ImageReader(whole.dataset)
    np.testing.assert_array_equal(reader.read(np.arange(len(whole.images))), whole.images)
    ids = np.random.default_rng(1).permutation(len(whole.images))
    np.testing.assert_array_equal(reader.read(ids), whole.images[ids])
    source = tfds.builder_from_directory(whole.dataset.path).as_data_source("frames")
    for row in (0, lengths[0], len(whole.images) - 1):
        np.testing.assert_array_equal(source[row]["image"], whole.images[row])


def test_a_part_that_was_interrupted_is_written_anew(tmp_path):
    session = tiny.sessions_of()[0]
    stale = tmp_path / "part-00000-0002-007.array_record"
    stale.write_bytes(b"of the interrupted attempt")
    others = [tmp_path / f"part-{other}-000.array_record" for other in ("00000-0001", "00001-0002")]
    for other in others:
        other.write_bytes(b"of another piece, of another session")
    note = parts.note_file(tmp_path, 0, 2)
    assert not note.exists()
    written = parts.write_part(tmp_path, 0, 2, session, tiny.FIT, rule=tiny.RULE, on_bad="skip")
    assert written == tiny.SESSIONS[0][0]
    assert note.exists()
    assert not stale.exists()
    assert all(other.exists() for other in others)


def test_pieces_make_the_same_dataset_as_one(small, tmp_path):
    whole = tiny.sessions_of()
    frames = [list(session.read()) for session in whole]
    cut = [
        dataclasses.replace(
            session,
            pieces=[functools.partial(iter, own[at : at + 5]) for at in range(0, len(own) + 1, 5)],
        )
        for session, own in zip(whole, frames, strict=True)
    ]
    dataset = open_dataset(tiny.write(tmp_path / "pieces", cut))
    assert dataset.origins.tolist() == small.dataset.origins.tolist()
    everything = np.arange(len(dataset.times))
    np.testing.assert_array_equal(ImageReader(dataset).read(everything), small.images)
    held = [(session["name"], session["records"]) for session in dataset.manifest["sessions"]]
    assert held == [(s.name, len(own)) for s, own in zip(whole, frames, strict=True)]
    assert len(dataset.manifest["shards"]) == sum(
        session["shards"] for session in dataset.manifest["sessions"]
    )


def test_an_empty_session_costs_nothing_unless_there_is_no_other(small, tmp_path):
    empty = Session("lap 7", "train", [lambda: iter(())])
    dataset = open_dataset(tiny.write(tmp_path / "beside", [*tiny.sessions_of(), empty]))
    assert len(dataset.times) == len(small.dataset.times)
    assert dataset.manifest["sessions"][-1]["records"] == 0
    with pytest.raises(UserError, match="session lap 7 holds no usable frame: it is empty"):
        tiny.write(tmp_path / "alone", [empty])


@pytest.fixture
def copied(small, tmp_path):
    """The dataset's folder, to be damaged."""
    return shutil.copytree(small.dataset.path, tmp_path / "dataset")


def cut_a_shard(path):
    shard = shard_files(path)[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    return shard


def empty_a_shard(path):
    shard = shard_files(path)[2]
    shard.write_bytes(b"")
    return shard


def remove_a_shard(path):
    shard = shard_files(path)[0]
    shard.unlink()
    return shard


def shorten_the_table(path):
    pq.write_table(pq.read_table(path / shards.TABLE).slice(1), path / shards.TABLE)
    return path / shards.TABLE


def change_a_label(path):
    table = pq.read_table(path / shards.TABLE)
    column = table.column_names.index("label/steering")
    changed = table.set_column(column, "label/steering", table["label/throttle"])
    pq.write_table(changed, path / shards.TABLE)
    return path / shards.TABLE


def cut_the_table(path):
    (path / shards.TABLE).write_bytes((path / shards.TABLE).read_bytes()[:100])
    return path / shards.TABLE


def remove_the_table(path):
    (path / shards.TABLE).unlink()
    return path / shards.TABLE


def cut_the_manifest(path):
    (path / shards.MANIFEST).write_text((path / shards.MANIFEST).read_text()[:100])
    return path / shards.MANIFEST


@pytest.mark.parametrize(
    "damage",
    [
        cut_a_shard,
        empty_a_shard,
        remove_a_shard,
        shorten_the_table,
        change_a_label,
        cut_the_table,
        remove_the_table,
        cut_the_manifest,
    ],
)
def test_damage_is_found_at_opening_and_the_file_is_named(copied, damage):
    open_dataset(copied)
    file = damage(copied)
    with pytest.raises(UserError) as caught:
        open_dataset(copied)
    text = str(caught.value)
    assert text.startswith(f"damaged dataset: {file} ")
    assert f"delete the folder {copied} and run `prepare` again" in text


def test_a_dataset_of_another_schema_is_refused(copied):
    manifest = json.loads((copied / shards.MANIFEST).read_text())
    manifest["schema_version"] = 99
    (copied / shards.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(
        UserError, match=r"schema version 99, this jaxdrive reads version 3.*delete"
    ):
        open_dataset(copied)


def test_a_folder_without_a_manifest_is_no_dataset(copied):
    (copied / shards.MANIFEST).unlink()
    with pytest.raises(UserError, match=rf"{copied} holds no prepared dataset.*manifest\.json"):
        open_dataset(copied)


def test_a_flipped_byte_in_a_picture_is_an_error_not_another_picture(small, copied):
    record = 4
    shard = shard_files(copied)[0]
    content = bytearray(shard.read_bytes())
    place = content.index(small.images[record].tobytes())
    content[place + 10] ^= 1
    shard.write_bytes(content)
    reader = ImageReader(open_dataset(copied))
    with pytest.raises(UserError) as caught:
        reader.read(np.array([record]))
    text = str(caught.value)
    assert text.startswith(f"damaged dataset: {shard} cannot be read at records [{record}]")
    assert f"delete the folder {copied} and run `prepare` again" in text
    np.testing.assert_array_equal(reader.read(np.array([3, 5])), small.images[[3, 5]])
