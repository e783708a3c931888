"""Keras is the reference of these tests, on JAX; the extra `parity` brings it."""

import os

# Before anything imports Keras.
os.environ["KERAS_BACKEND"] = "jax"

import pytest


def pytest_collection_modifyitems(items):
    """Keras's variables have not learned NumPy 2's way of being copied."""
    folder = os.path.dirname(__file__)
    for item in items:
        if item.path.is_relative_to(folder):
            item.add_marker(
                pytest.mark.filterwarnings(
                    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
                )
            )
