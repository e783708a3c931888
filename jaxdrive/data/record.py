"""One record of a shard: a tf.train.Example of arrays, as TFDS writes and reads it.

All records of a store hold arrays of the same names and sizes, so their values are at the same
places. A record is written and read by copying values: building or parsing a message takes ten
times as long. Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np


class Layout(NamedTuple):
    """Where values are in the records of a store.

    Attributes:
      names: Of the arrays, in the order of their values.
      slices: By name, the bytes of the value.
      between: The bytes before the first value, between values, and after the last one.
    """

    names: tuple[str, ...]
    slices: Mapping[str, slice]
    between: tuple[bytes, ...]


@functools.cache
def layout_of(sizes: tuple[tuple[str, int], ...]) -> Layout:
    """The layout of records that are written here.

    Args:
      sizes: The name of every array and its number of bytes.
    """
    example = load_messages().Example()
    for name, size in sizes:
        example.features.feature[name].bytes_list.value.append(bytes(size))
    # Deterministic: without it the features come in another order each time.
    return find_layout(example.SerializeToString(deterministic=True))


def find_layout(record: bytes) -> Layout:
    """The layout of a record, whoever wrote it; features that hold no bytes are left out."""
    slices = {name: place for name, place in _values(record) if place is not None}
    names = tuple(sorted(slices, key=lambda name: slices[name].start))
    ends = [0, *(slices[name].stop for name in names)]
    starts = [*(slices[name].start for name in names), len(record)]
    between = tuple(record[end:start] for end, start in zip(ends, starts, strict=True))
    return Layout(names, slices, between)


def write_record(arrays: Mapping[str, np.ndarray | bytes]) -> bytes:
    """Arrays as the bytes of a record: the same bytes for the same arrays.

    Args:
      arrays: By name, of any shape and dtype, in C order.
    """
    views = {
        name: memoryview(value) if isinstance(value, bytes) else np.ascontiguousarray(value).data
        for name, value in arrays.items()
    }
    layout = layout_of(tuple((name, view.nbytes) for name, view in views.items()))
    pieces: list[Any] = [layout.between[0]]
    for name, after in zip(layout.names, layout.between[1:], strict=True):
        pieces += [views[name], after]
    return b"".join(pieces)


def array_bytes(record: bytes, name: str) -> memoryview:
    """The bytes of an array in a record of unknown layout.

    Raises:
      KeyError: The record has no array of that name.
    """
    for found, place in _values(record):
        if found == name and place is not None:
            return memoryview(record)[place]
    raise KeyError(f"the record has no array named {name}")


def load_messages() -> Any:
    """The module of protocol buffers. It imports all of TFDS, so only where it is needed."""
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2


def _values(record: bytes) -> Iterator[tuple[str, slice | None]]:
    """By name, where the bytes of every feature are; None for a feature of numbers.

    An Example holds Features, which hold (name, Feature) pairs in no fixed order. A Feature holds
    a list of one kind, field 1 being bytes, and the list its values.
    """
    (features,) = _fields(record, slice(0, len(record)), 1)
    for entry in _fields(record, features, 1):
        name = record[_first(record, entry, 1)].decode()
        values = next(_fields(record, _first(record, entry, 2), 1), None)
        yield name, None if values is None else _first(record, values, 1)


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
