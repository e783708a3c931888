"""The backbone against keras.applications, with the same random weights and statistics."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed: pip install -e '.[parity]'")

from tests.parity.reference import compare, computing_in, published_xception


@pytest.fixture(scope="module", params=["float32", "float64"])
def published(request):
    with computing_in(request.param):
        yield published_xception()


@pytest.mark.parametrize(("height", "width"), [(96, 96), (71, 103)])
def test_it_computes_what_keras_computes(published, height, width, tmp_path):
    rows = compare(published, tmp_path, height=height, width=width)
    assert [row["what"] for row in rows] == [
        "features, inference",
        "features, training",
        "moving averages",
    ]
    for row in rows:
        assert row["largest"] > 0.1
        if published.variables[0].dtype == "float32":
            assert row["absolute"] <= 1e-4, row
        else:
            assert row["relative"] <= 1e-9, row


def test_pictures_are_scaled_as_keras_scales_them():
    values = np.arange(256, dtype=np.uint8)
    expected = keras.applications.xception.preprocess_input(values.astype(np.float32))
    np.testing.assert_array_equal(values.astype(np.float32) / 127.5 - 1, expected)
