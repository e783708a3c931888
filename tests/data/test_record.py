"""A record's bytes, against protocol buffers' own."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays
from tensorflow_datasets.proto import tf_example_pb2

from jaxdrive.data.record import array_bytes, find_layout, write_record

_SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, max_side=40)
_ARRAYS = st.one_of(
    arrays.arrays(np.uint8, _SHAPES),
    arrays.arrays(np.float16, _SHAPES),
    st.binary(max_size=300),
)


def bytes_of(value) -> bytes:
    return value if isinstance(value, bytes) else value.tobytes()


_NAMES = st.text(min_size=1, max_size=200)


@given(st.dictionaries(_NAMES, _ARRAYS, min_size=1, max_size=5), st.booleans())
def test_a_record_is_what_protocol_buffers_write(held, flipped):
    if flipped:
        held = {name: value[..., ::-1] if np.ndim(value) else value for name, value in held.items()}
    example = tf_example_pb2.Example()
    for name, value in held.items():
        example.features.feature[name].bytes_list.value.append(bytes_of(value))
    record = write_record(held)
    assert record == example.SerializeToString(deterministic=True)
    assert find_layout(record).slices.keys() == held.keys()
    for name, value in held.items():
        assert bytes(array_bytes(record, name)) == bytes_of(value)
        assert record[find_layout(record).slices[name]] == bytes_of(value)


def test_arrays_are_found_at_any_place_and_size_beside_numbers():
    one, large = tf_example_pb2.Example(), tf_example_pb2.Example()
    one.features.feature["labels/speed"].float_list.value.append(3.0)
    one.features.feature["images"].bytes_list.value.append(b"another")
    large.features.feature["image"].bytes_list.value.append(bytes(range(256)) * 300)
    # Protocol buffers put the entries of a map in no fixed order; joined features are one map.
    first, second = (example.features.SerializeToString() for example in (one, large))
    for features in (first + second, second + first):
        length = len(features)
        varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
        record = b"\n" + varint + features
        assert len(tf_example_pb2.Example.FromString(record).features.feature) == 3
        assert bytes(array_bytes(record, "image")) == bytes(range(256)) * 300
        assert find_layout(record).slices.keys() == {"image", "images"}
    with pytest.raises(KeyError, match="no array named image"):
        array_bytes(one.SerializeToString(), "image")
    with pytest.raises(KeyError, match="no array named labels/speed"):
        array_bytes(one.SerializeToString(), "labels/speed")
