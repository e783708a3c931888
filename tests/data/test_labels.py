"""Labels that no bin holds, or that are missing, are found before training."""

import dataclasses
import re

import numpy as np
import pytest

from jaxdrive.data.labels import beyond_bins, check_names, check_values
from jaxdrive.data.split import GAP
from jaxdrive.errors import UserError
from tests.data import tiny


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tiny.Tiny:
    return tiny.make(tmp_path_factory.mktemp("labels") / "dataset")


def with_label(dataset, record: int, value: float, split: str = "train"):
    """The dataset, steering scaled into its range but for one record."""
    labels = dataset.labels | {"steering": dataset.labels["steering"] * np.float32(0.5)}
    splits = dataset.splits.copy()
    labels["steering"][record], splits[record] = value, split
    return dataclasses.replace(dataset, labels=labels, splits=splits)


def test_labels_in_range_pass_and_so_do_those_that_rounding_moved(small):
    for value in (0.5, -0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.50001):
        check_values(tiny.HEADS, with_label(small.dataset, 3, value))
    check_values(tiny.HEADS, with_label(small.dataset, 3, 7.0, GAP))


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("value", [0.51, -0.6, 7.0, float("nan"), float("-inf")])
def test_a_label_that_no_bin_holds_is_named_with_its_frame(small, value, split):
    dataset = with_label(small.dataset, 30, value, split)
    total = len(dataset.labels["steering"])
    frame = re.escape(f"{value:.6g} ({dataset.origins[30]})")
    told = (
        rf"heads\.steering has no bin for 1 of {total} labels 'steering', such as {frame}: its bins"
    )
    told += r" go from -0\.5 to 0\.5, .*\. Raise config\.heads\.steering\.scale, or widen low"
    with pytest.raises(UserError, match=told):
        check_values(tiny.HEADS, dataset)


def test_all_of_them_are_counted_and_the_farthest_is_shown(small):
    labels = small.labels["steering"]
    count = int((np.abs(labels) > 0.5001).sum())
    assert 0 < count < len(labels)
    told = rf"{count} of {len(labels)} labels 'steering', such as -?0\.6 \("
    with pytest.raises(UserError, match=told):
        check_values(tiny.HEADS, small.dataset)


def test_of_frames_that_do_not_count_nothing_is_told(small):
    dataset = with_label(small.dataset, 3, 7.0)
    (told,) = beyond_bins(tiny.HEADS, dataset, np.array([2, 3])).items()
    assert told[0] == "steering"
    assert told[1].startswith("no bin for 1 of 2 labels 'steering', such as 7 (")
    assert not beyond_bins({"throttle": tiny.HEADS["throttle"]}, dataset, np.array([2, 3]))
    assert not beyond_bins(tiny.HEADS, with_label(small.dataset, 2, 0.0), np.array([2]))


def test_a_label_that_is_not_there_is_named_with_those_that_are():
    config, where = {"scalars": {"speed": 0.01}}, "config.data.source='car_racing'"
    check_names(config, tiny.HEADS, tiny.LABELS, where=where)
    told = (
        r"config\.heads\.throttle\.label asks for the label 'throttle', which config\.data\.source"
    )
    with pytest.raises(UserError, match=told + r"='car_racing' does not have: it has speed, steer"):
        check_names(config, tiny.HEADS, ("steering", "speed"), where=where)
    with pytest.raises(UserError, match=r"config\.scalars\.speed asks for the label 'speed'"):
        check_names(config, tiny.HEADS, ("steering", "throttle"), where=where)
