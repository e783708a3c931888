"""One record of a shard: a tf.train.Example with a picture and labels, as TFDS writes and reads it.

Nothing is parsed or built for a frame, which takes ten times as long as copying its bytes: of a
record that is read only the lengths of its fields are looked at, and one that is written differs
from the others of its dataset in the values alone.
Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

import functools
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

_IMAGE = "image"
# Of a message Feature, the field with a list of bytes, and that with a list of floats.
_BYTES, _FLOATS = 1, 2


class _Layout(NamedTuple):
    """The bytes of a record before the picture's and after them, and where in those labels are."""

    head: bytes
    tail: bytes
    labels: Mapping[str, int]


def write_record(image: np.ndarray, labels: Mapping[str, float]) -> bytes:
    """A frame as bytes, which are the same for the same frame.

    Args:
      image: uint8 [H, W, 3].
      labels: By name; written as float32.
    """
    layout = _layout(image.nbytes, tuple(labels))
    tail = bytearray(layout.tail)
    for name, value in labels.items():
        struct.pack_into("<f", tail, layout.labels[name], value)
    return b"".join((layout.head, np.ascontiguousarray(image).data, tail))


def image_bytes(record: bytes) -> memoryview:
    """The picture in a record.

    Raises:
      KeyError: The record has no such feature.
    """
    return memoryview(record)[_value(record, _IMAGE, _BYTES)]


def load_messages() -> Any:
    """The module of protocol buffers, with which all of TFDS is imported: so where it is needed."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2


@functools.cache
def _layout(image_size: int, labels: tuple[str, ...]) -> _Layout:
    example = load_messages().Example()
    features = example.features.feature
    features[_IMAGE].bytes_list.value.append(bytes(image_size))
    for name in labels:
        features[f"labels/{name}"].float_list.value.append(0)
    # By name: else features stand in another order each time, and so do the bytes of a dataset.
    record = example.SerializeToString(deterministic=True)
    image = _value(record, _IMAGE, _BYTES)
    places = {name: _value(record, f"labels/{name}", _FLOATS).start - image.stop for name in labels}
    return _Layout(record[: image.start], record[image.stop :], places)


def _value(record: bytes, feature: str, kind: int) -> slice:
    """Where the values of a feature are.

    An Example holds Features, which hold (name, Feature) pairs in no fixed order; a Feature holds a
    list of one kind, and that its values.
    """
    name = feature.encode()
    (features,) = _fields(record, slice(0, len(record)), 1)
    for entry in _fields(record, features, 1):
        if record[_first(record, entry, 1)] == name:
            return _first(record, _first(record, _first(record, entry, 2), kind), 1)
    raise KeyError(f"the record has no feature named {feature}")


def _first(record: bytes, message: slice, number: int) -> slice:
    return next(_fields(record, message, number))


def _fields(record: bytes, message: slice, number: int) -> Iterator[slice]:
    """Where the length-delimited fields `number` of a message are, made of such fields alone."""
    at, end = message.start, message.stop
    while at < end:
        tag, at = _varint(record, at)
        length, at = _varint(record, at)
        if tag >> 3 == number:
            yield slice(at, at + length)
        at += length


def _varint(record: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = record[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
