"""Backbones against the same networks in Keras, with the same random weights and statistics."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: pip install -e '.[parity]'")

from tests.parity.reference import (
    compare,
    compare_gradients,
    computing_in,
    our_small_inception,
    our_xception,
    published_small_inception,
    published_xception,
)


@pytest.fixture(scope="module", params=["float32", "float64"])
def published(request):
    with computing_in(request.param):
        yield published_xception()


@pytest.mark.parametrize(("height", "width"), [(96, 96), (71, 103)])
def test_xception_computes_what_keras_computes(published, height, width, tmp_path):
    rows = compare(published, our_xception(), tmp_path, height=height, width=width)
    check(rows, published.variables[0].dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_inception_computes_what_keras_computes(dtype, tmp_path):
    """At an odd size, of which the last means of 8x8 windows leave something."""
    with computing_in(dtype):
        published = published_small_inception(29, 43)
        check(compare(published, our_small_inception(), tmp_path, height=29, width=43), dtype)


def test_small_inception_has_the_gradients_of_keras(tmp_path):
    with computing_in("float64"):
        published = published_small_inception(29, 43)
        rows = compare_gradients(published, our_small_inception(), tmp_path, height=29, width=43)
    assert len(rows) == 14 * 4
    for row in rows:
        assert row["absolute"] <= 1e-9 * row["largest"], row


def test_small_inception_has_the_size_of_keras_s():
    with computing_in("float32"):
        published = published_small_inception(90, 320)
    model = keras.Sequential([published, keras.layers.Dense(1)])
    assert model.count_params() == 35_681
    assert published.get_layer("module2_direct").output.shape == (None, 88, 318, 16)
    assert published.output.shape == (None, 11 * 39 * 48)


def check(rows, dtype):
    """Checks what `compare` returns of networks that compute in `dtype`."""
    assert [row["what"] for row in rows] == [
        "features, inference",
        "features, training",
        "moving averages",
    ]
    for row in rows:
        assert row["largest"] > 0.1
        if dtype == "float32":
            assert row["absolute"] <= 1e-4, row
        else:
            assert row["relative"] <= 1e-9, row


def test_pictures_are_scaled_as_keras_scales_them():
    values = np.arange(256, dtype=np.uint8)
    expected = keras.applications.xception.preprocess_input(values.astype(np.float32))
    np.testing.assert_array_equal(values.astype(np.float32) / 127.5 - 1, expected)
