"""tf.data: the same batches gathered from a tensor in memory, or TFRecords in shuffled order.

memory: the records of every batch are given, and all images lie in memory.
records: every head reads a file of its own order through a shuffle buffer, without balance, which
  is what tf.data does without random access.

Command (started by benchmarks/peers.py):
  python -m benchmarks.peer_workers.loader_tensorflow FOLDER memory|records
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tensorflow as tf

from benchmarks.peer_workers.loader_files import LoaderFiles, first_pixels, read
from benchmarks.peer_workers.protocol import Work, serve

_SHUFFLE_BUFFER = 1024


def from_memory(files: LoaderFiles) -> tf.data.Dataset:
    """Batches (images, labels) of the given records."""
    images, labels = tf.constant(files.images), tf.constant(files.labels)

    def gather(ids: Any) -> Any:
        return tf.gather(images, ids), tf.gather(labels, ids, axis=1, batch_dims=1)

    ids = tf.data.Dataset.from_tensor_slices(files.ids).repeat()
    return ids.map(gather, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def write_records(files: LoaderFiles, path: Path) -> None:
    """One tf.train.Example with an image and the labels of all heads for every record."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, labels in zip(files.images, files.labels.T, strict=True):
            image_list = tf.train.BytesList(value=[image.tobytes()])
            label_list = tf.train.FloatList(value=labels)
            feature = {
                "image": tf.train.Feature(bytes_list=image_list),
                "labels": tf.train.Feature(float_list=label_list),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def from_records(files: LoaderFiles, path: Path) -> tf.data.Dataset:
    """Batches (images, labels), one of them for every head."""
    heads, rows = files.ids.shape[1:]
    schema = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.FixedLenFeature([heads], tf.float32),
    }

    def parse(examples: Any, head: int) -> Any:
        fields = tf.io.parse_example(examples, schema)
        images = tf.io.decode_raw(fields["image"], tf.uint8)
        return tf.reshape(images, (rows, *files.images.shape[1:])), fields["labels"][:, head]

    streams = tuple(
        tf.data.TFRecordDataset(str(path))
        .repeat()
        .shuffle(_SHUFFLE_BUFFER, seed=head)
        .batch(rows, drop_remainder=True)
        .map(lambda examples, head=head: parse(examples, head), num_parallel_calls=tf.data.AUTOTUNE)
        for head in range(heads)
    )
    return tf.data.Dataset.zip(streams).prefetch(tf.data.AUTOTUNE)


def make(arguments: Sequence[str]) -> Work:
    """Batches as NumPy arrays, without end."""
    folder, mode = arguments
    files = read(folder)
    if mode == "memory":
        batches = from_memory(files).as_numpy_iterator()
        return _work(lambda: first_pixels(next(batches)[0]))
    path = Path(folder) / "images.tfrecord"
    write_records(files, path)
    streams = from_records(files, path).as_numpy_iterator()
    return _work(lambda: sum(first_pixels(images) for images, _ in next(streams)))


def _work(update: Any) -> Work:
    return Work(update, finish=lambda: None, device="cpu", parameters=0, settle=0.2)


if __name__ == "__main__":
    serve(make, ["tensorflow"])
