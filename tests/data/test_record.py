"""A record's bytes, against protocol buffers' own."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays
from tensorflow_datasets.proto import tf_example_pb2

from jaxdrive.data.record import image_bytes, write_record

_SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))


@given(
    image=arrays.arrays(np.uint8, _SHAPES),
    labels=st.dictionaries(st.text(min_size=1, max_size=200), st.floats(width=32), max_size=5),
    flipped=st.booleans(),
)
def test_a_record_is_what_protocol_buffers_write(image, labels, flipped):
    if flipped:
        image = image[:, ::-1]
    example = tf_example_pb2.Example()
    features = example.features.feature
    features["image"].bytes_list.value.append(image.tobytes())
    for name, value in labels.items():
        features[f"labels/{name}"].float_list.value.append(value)
    record = write_record(image, labels)
    assert record == example.SerializeToString(deterministic=True)
    assert bytes(image_bytes(record)) == image.tobytes()


def test_image_bytes_are_found_at_any_place_and_size():
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
        assert bytes(image_bytes(record)) == bytes(range(256)) * 300
    with pytest.raises(KeyError, match="no feature named image"):
        image_bytes(one.SerializeToString())
