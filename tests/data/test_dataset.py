"""What is read back is what was written, by our reader and by plain TFDS; damage is found."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.proto import tf_example_pb2

from jaxdrive.data import dataset as datasets
from jaxdrive.data import store as stores
from jaxdrive.data import store_writer
from jaxdrive.data.dataset import open_dataset
from jaxdrive.data.frames import Session
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.record import array_bytes
from jaxdrive.errors import UserError


def shard_files(dataset):
    """The files of its shards, in the order of their records."""
    return [shard.path for store in dataset.stores for shard in store.shards]


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
    table = pq.read_table(dataset.path / datasets.TABLE)
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
    seen = 0
    for store in small.dataset.stores:
        source = tfds.builder_from_directory(store.path).as_data_source("frames")
        assert len(source) == store.records
        for example in source:
            np.testing.assert_array_equal(example["image"], small.images[seen], strict=True)
            seen += 1
    assert seen == len(small.images)


def test_records_hold_any_arrays_by_name(small, tmp_path):
    """Maps and further images need no other format."""
    generator = np.random.default_rng(0)
    written = [
        {
            "image": generator.integers(0, 256, (4, 5, 3), np.uint8),
            "rear": generator.integers(0, 256, (2, 2, 3), np.uint8),
            "depth": generator.normal(size=(4, 5)).astype(np.float16),
        }
        for _ in range(7)
    ]
    session = tiny.sessions_of([(7, "train")])[0]
    folder = tmp_path / "images-several"
    partial = store_writer.begin(folder)
    store_writer.write_records(partial, 0, written, [None] * len(written))
    store_writer.finish(folder, session, tiny.FIT)
    store = stores.open_store(folder)
    dataset = dataclasses.replace(small.dataset, places=np.arange(7), stores=[store])
    reader = ImageReader(dataset)
    source = tfds.builder_from_directory(folder).as_data_source("frames")
    for name in written[0]:
        expected = np.stack([record[name] for record in written])
        np.testing.assert_array_equal(reader.read(np.arange(7), name), expected, strict=True)
        np.testing.assert_array_equal(np.stack([e[name] for e in source]), expected, strict=True)


def test_array_bytes_are_those_of_a_parsed_example(small):
    seen = 0
    for file in shard_files(small.dataset):
        for record in records_of(file):
            example = tf_example_pb2.Example.FromString(record)
            (expected,) = example.features.feature["image"].bytes_list.value
            assert bytes(array_bytes(record, "image")) == expected == small.images[seen].tobytes()
            seen += 1
    assert seen == len(small.images)


def test_the_manifest_knows_the_shards(small):
    for store in small.dataset.stores:
        for shard in json.loads((store.path / stores.MANIFEST).read_text())["shards"]:
            content = (store.path / shard["file"]).read_bytes()
            assert shard["bytes"] == len(content)
            assert shard["xxh3_128"] == xxhash.xxh3_128_hexdigest(content)


def test_a_session_may_fill_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(store_writer, "_SHARD_BYTES", 1000)
    whole = tiny.make(tmp_path / "dataset")
    lengths = [shard.records for store in whole.dataset.stores for shard in store.shards]
    files = shard_files(whole.dataset)
    assert len(lengths) == len(files) > 2 * len(tiny.SESSIONS)
    for length, file in zip(lengths, files, strict=True):
        records = records_of(file)
        assert len(records) == length
        assert sum(len(array_bytes(record, "image")) for record in records) <= 1000
    reader = ImageReader(whole.dataset)
    np.testing.assert_array_equal(reader.read(np.arange(len(whole.images))), whole.images)
    ids = np.random.default_rng(1).permutation(len(whole.images))
    np.testing.assert_array_equal(reader.read(ids), whole.images[ids])
    source = tfds.builder_from_directory(whole.dataset.stores[0].path).as_data_source("frames")
    for row in (0, lengths[0], len(source) - 1):
        np.testing.assert_array_equal(source[row]["image"], whole.images[row])


def test_a_part_that_was_interrupted_is_written_again(tmp_path):
    session = tiny.sessions_of()[0]
    partial = store_writer.begin(tmp_path / "images-1")
    stale = partial / "part-0002-007.array_record"
    stale.write_bytes(b"of the interrupted attempt")
    other = partial / "part-0001-000.array_record"
    other.write_bytes(b"of another piece")
    assert not store_writer.is_written(partial, 2)
    assert store_writer.begin(tmp_path / "images-1") == partial
    assert store_writer.write_part(partial, 2, session, tiny.FIT) == tiny.SESSIONS[0][0]
    assert store_writer.is_written(partial, 2)
    assert not stale.exists()
    assert other.exists()


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


def test_an_empty_session_costs_nothing_unless_there_is_no_other(small, tmp_path):
    empty = Session("lap 7", "train", [lambda: iter(())], images="none")
    dataset = open_dataset(tiny.write(tmp_path / "beside", [*tiny.sessions_of(), empty]))
    assert len(dataset.times) == len(small.dataset.times)
    assert dataset.manifest["sessions"][-1]["records"] == 0
    with pytest.raises(UserError, match="session lap 7 holds no usable frame: it is empty"):
        tiny.write(tmp_path / "alone", [empty])


@pytest.fixture
def copied(small, tmp_path):
    """The dataset and its stores, to be damaged."""
    return shutil.copytree(small.dataset.path.parent, tmp_path / "copy") / "dataset"


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def empty(file):
    file.write_bytes(b"")


def remove(file):
    file.unlink()


def overwrite(file):
    """With other bytes, as many."""
    file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))


@pytest.mark.parametrize("damage", [cut, empty, remove, overwrite])
@pytest.mark.parametrize("which", ["table", "store", "shard"])
def test_damage_is_found_at_opening_and_the_file_is_named(copied, damage, which):
    store = open_dataset(copied).stores[1]
    file, folder = {
        "table": (copied / datasets.TABLE, copied),
        "store": (store.path / stores.MANIFEST, store.path),
        "shard": (store.shards[0].path, store.path),
    }[which]
    damage(file)
    with pytest.raises(stores.DamageError) as caught:
        open_dataset(copied)
    text = str(caught.value)
    assert text.startswith("damaged dataset: ")
    assert str(file) in text
    assert f"delete the folder {folder} and run `prepare` again" in text


@pytest.mark.parametrize("damage", [cut, empty, overwrite])
def test_a_damaged_manifest_is_told(copied, damage):
    damage(copied / datasets.MANIFEST)
    with pytest.raises(UserError, match=rf"damaged dataset: {copied / datasets.MANIFEST} is no"):
        open_dataset(copied)


def test_a_label_that_was_changed_is_found(copied):
    table = pq.read_table(copied / datasets.TABLE)
    column = table.column_names.index("label/steering")
    changed = table.set_column(column, "label/steering", table["label/throttle"])
    pq.write_table(changed, copied / datasets.TABLE)
    with pytest.raises(UserError, match=f"{datasets.TABLE} is not what its manifest says"):
        open_dataset(copied)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_shard_in_the_place_of_another_is_named(many_shards, data):
    """Exchanged, of an earlier attempt at the same recording, or of another recording."""
    folder = many_shards.parent
    files = shard_files(open_dataset(many_shards))
    foreign = sorted((folder.parent / "other").glob("images-*/*.array_record-*"))
    file = data.draw(st.sampled_from(files))
    other = data.draw(st.sampled_from([*files, *foreign]).filter(lambda path: path != file))
    exchanged = {file: file.read_bytes()} | ({other: other.read_bytes()} if other in files else {})
    try:
        file.write_bytes(other.read_bytes())
        if other in files:
            other.write_bytes(exchanged[file])
        with pytest.raises(stores.DamageError) as caught:
            open_dataset(many_shards)
        # Of two that were exchanged, the first one is named.
        assert str(next(path for path in files if path in exchanged)) in str(caught.value)
    finally:
        for path, content in exchanged.items():
            path.write_bytes(content)
    open_dataset(many_shards)


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory):
    """A dataset of shards of the same size, beside one of the same frames that was made again."""
    folder = tmp_path_factory.mktemp("many")
    counts = [(12, "train"), (12, "validation"), (12, "test")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_writer, "_SHARD_BYTES", 4 * tiny.HEIGHT * tiny.WIDTH * 3)
        for name in ("here", "other"):
            (folder / name).mkdir()
            tiny.write(folder / name / "dataset", tiny.sessions_of(counts))
    dataset = open_dataset(folder / "here" / "dataset")
    assert len({shard.size for store in dataset.stores for shard in store.shards}) == 1
    assert len(shard_files(dataset)) == 9
    return dataset.path


def test_images_that_were_read_again_ask_for_another_table(copied):
    store = open_dataset(copied).stores[0]
    shutil.rmtree(store.path)
    session = tiny.sessions_of()[0]
    assert tiny.write_store(copied.parent, session).path == store.path
    with pytest.raises(UserError, match=rf"{store.path} were read again after {copied} was made"):
        open_dataset(copied)


def test_all_bytes_are_verified_where_that_is_asked_for(small, copied):
    dataset = open_dataset(copied)
    assert not list(stores.verify(dataset.stores))
    shard = dataset.stores[1].shards[0]
    content = bytearray(shard.path.read_bytes())
    content[content.index(small.images[26].tobytes()) + 10] ^= 1
    shard.path.write_bytes(content)
    assert list(stores.verify(open_dataset(copied).stores)) == [(dataset.stores[1], shard)]


def test_a_dataset_of_another_schema_is_refused(copied):
    manifest = json.loads((copied / datasets.MANIFEST).read_text())
    manifest["schema_version"] = 99
    (copied / datasets.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(
        UserError, match=r"version 99, this jaxdrive reads versions 3 and 4.*delete"
    ):
        open_dataset(copied)


def test_a_folder_without_a_manifest_is_no_dataset(copied):
    (copied / datasets.MANIFEST).unlink()
    with pytest.raises(UserError, match=rf"{copied} holds no prepared dataset.*manifest\.json"):
        open_dataset(copied)


def test_a_flipped_byte_in_an_image_is_an_error_not_another_image(small, copied):
    record = 4
    (shard,) = open_dataset(copied).stores[0].shards
    content = bytearray(shard.path.read_bytes())
    place = content.index(small.images[record].tobytes())
    content[place + 10] ^= 1
    shard.path.write_bytes(content)
    reader = ImageReader(open_dataset(copied))
    with pytest.raises(UserError) as caught:
        reader.read(np.array([record]))
    text = str(caught.value)
    assert text.startswith(f"damaged dataset: {shard.path} cannot be read at records [{record}]")
    assert f"delete the folder {shard.path.parent} and run `prepare` again" in text
    np.testing.assert_array_equal(reader.read(np.array([3, 5])), small.images[[3, 5]])


def test_a_shard_that_is_exchanged_while_it_is_in_use_is_an_error(many_shards):
    dataset = open_dataset(many_shards)
    first, second = shard_files(dataset)[:2]
    contents = first.read_bytes(), second.read_bytes()
    reader = ImageReader(dataset)
    try:
        first.write_bytes(contents[1])
        with pytest.raises(
            UserError, match=rf"{first} cannot be read at records \[2\].*has record"
        ):
            reader.read(np.array([2]))
    finally:
        first.write_bytes(contents[0])
