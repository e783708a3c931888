"""Which of given weights a network takes, and files that are no weights of Keras."""

import numpy as np
import pytest
from etils import epath

from jaxdrive.errors import UserError
from jaxdrive.models import weights

OURS = {"backbone/conv/kernel": (3, 3), "common_0/kernel": (4, 2), "brake_output/bias": (1,)}
THEIRS = {name: np.full(shape, 2.0) for name, shape in OURS.items()}


def choose(found, part):
    return weights.choose(found, OURS, part=part, where="FILE")


def test_the_backbone_alone_or_all_of_it():
    chosen = choose(THEIRS, "all")
    assert (chosen.loaded.keys(), chosen.left, chosen.skipped) == (OURS.keys(), {}, {})
    chosen = choose(THEIRS, "backbone")
    assert chosen.loaded.keys() == {"backbone/conv/kernel"}
    assert chosen.left == {"common_0/kernel": (4, 2), "brake_output/bias": (1,)}
    assert chosen.skipped == chosen.left
    del (fewer := dict(THEIRS))["brake_output/bias"]
    chosen = choose(fewer | {"predictions/bias": np.zeros(9)}, "all")
    assert chosen.left == {"brake_output/bias": (1,)}
    assert chosen.skipped == {"predictions/bias": (9,)}


@pytest.mark.parametrize(
    ("changes", "part", "there", "here"),
    [
        ({"backbone/conv/kernel": (3, 4)}, "backbone", "kernel [3, 4]", "kernel [3, 3]"),
        ({"backbone/conv/kernel": None}, "backbone", "here: 0", "kernel [3, 3]"),
        ({"backbone/more/kernel": (5,)}, "backbone", "more/kernel [5]", "there: 0"),
        ({"common_0/kernel": (5, 2)}, "all", "common_0/kernel [5, 2]", "common_0/kernel [4, 2]"),
        ({"horn_output/bias": (1,)}, "all", "horn_output/bias [1]", "there: 0"),
    ],
)
def test_what_does_not_fit_is_told_from_both_sides(changes, part, there, here):
    found = {name: array for name, array in THEIRS.items() if changes.get(name, ()) is not None}
    found |= {name: np.zeros(shape) for name, shape in changes.items() if shape is not None}
    with pytest.raises(UserError, match="FILE are of another network") as refused:
        choose(found, part)
    listed_there, listed_here = str(refused.value).split("here, not found")
    assert there in listed_there
    assert here in listed_here


def test_what_is_loaded_takes_its_place_and_dtype():
    tree = {
        "backbone": {"conv": {"kernel": np.zeros((3, 3), np.float32)}},
        "x": {"bias": np.ones(1)},
    }
    placed = weights.place(choose(THEIRS, "backbone").loaded, tree)
    assert placed["backbone"]["conv"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(placed["backbone"]["conv"]["kernel"], np.full((3, 3), 2.0))
    assert placed["x"]["bias"] is tree["x"]["bias"]


def test_files_that_are_no_weights_of_keras_are_refused(tmp_path):
    for name, told in {
        "weights.npz": r"has to end in \.weights\.h5 or \.keras or \.h5",
        "words.h5": r"words\.h5 cannot be read as weights that Keras saved",
        "words.keras": r"words\.keras cannot be read as weights that Keras saved",
    }.items():
        (tmp_path / name).write_text("These are words.")
        with pytest.raises(UserError, match=told):
            weights.read_keras(epath.Path(tmp_path / name))
