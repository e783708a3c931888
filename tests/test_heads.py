"""Bins divide a range without gap or overlap, and targets and controls undo each other."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxdrive.bins import Bins, bin_index
from jaxdrive.errors import UserError
from jaxdrive.heads import (
    Head,
    bin_texts,
    commands,
    control_names,
    controls,
    derivable,
    derive,
    heads_from_config,
    learning_text,
    targets,
)

CONFIG = Path(__file__).parents[1] / "configs" / "default.py"


@st.composite
def bins_of_any_kind(draw) -> Bins:
    tenths = draw(st.lists(st.integers(-20, 20), min_size=2, max_size=12, unique=True))
    edges = tuple(tenth / 10 for tenth in sorted(tenths))
    return Bins(edges=edges, atoms=tuple(draw(st.sets(st.sampled_from(edges)))))


@st.composite
def symmetric_bins(draw) -> Bins:
    """Edges and atoms mirror each other; 0 may be an edge, an atom, or neither."""
    above = draw(st.lists(st.integers(1, 20), min_size=1, max_size=6, unique=True))
    atoms = draw(st.sets(st.sampled_from(above)))
    centre = draw(st.sampled_from(["no edge", "edge", "atom"]))
    edges = {sign * tenth / 10 for tenth in above for sign in (-1, 1)}
    edges |= set() if centre == "no edge" else {0.0}
    chosen = {sign * tenth / 10 for tenth in atoms for sign in (-1, 1)}
    chosen |= {0.0} if centre == "atom" else set()
    return Bins(edges=tuple(sorted(edges)), atoms=tuple(sorted(chosen)))


def values_around(bins: Bins) -> list[np.float32]:
    """Every edge, its neighbours in float32, the middle of every bin, and values out of range."""
    edges = [np.float32(edge) for edge in bins.edges]
    near = [np.nextafter(edge, np.float32(side)) for edge in edges for side in (-9, 9)]
    middles = [np.float32((low + high) / 2) for low, high in bins.spans]
    return [*edges, *near, *middles, np.float32(-7.5), np.float32(7.5)]


def owner(bins: Bins, value: np.float32) -> int:
    """The bin of one value by the words of `Bins`, without ranks or tables."""
    low_end, high_end = np.float32(bins.edges[0]), np.float32(bins.edges[-1])
    value = min(max(value, low_end), high_end)
    holding = [
        index
        for index, (low, high) in enumerate(bins.spans)
        if np.float32(low) <= value <= np.float32(high)
    ]
    atoms = [index for index in holding if bins.spans[index][0] == bins.spans[index][1]]
    if atoms:
        return atoms[0]
    assert len(holding) in (1, 2)
    return min(holding) if value > 0 else max(holding)


@given(bins_of_any_kind(), st.lists(st.floats(-2.5, 2.5, width=32)))
@example(Bins(edges=(-1.0, 0.0, 1.0), atoms=()), [0.0, -0.0])
@settings(deadline=None)
def test_every_value_has_one_bin_that_holds_it(bins, more):
    values = [*values_around(bins), *map(np.float32, more)]
    assert bin_index(bins, np.array(values)).tolist() == [owner(bins, value) for value in values]
    assert len(bins) == len(bins.spans) == len(bins.edges) - 1 + len(bins.atoms)
    # Devices look up without clipping: below the range is the first bin, above it the last.
    assert (bins.lookup[0], bins.lookup[-1]) == (0, len(bins) - 1)


@given(bins_of_any_kind())
@settings(deadline=None)
def test_spans_cover_the_range_in_order_and_atoms_hold_exact_values_only(bins):
    intervals = [(low, high) for low, high in bins.spans if low < high]
    assert intervals == list(zip(bins.edges, bins.edges[1:], strict=False))
    assert list(bins.spans) == sorted(bins.spans)
    for atom in bins.atoms:
        index = bins.spans.index((atom, atom))
        around = np.array(values_around(bins))
        np.testing.assert_array_equal(
            bin_index(bins, around) == index,
            np.clip(around, bins.edges[0], bins.edges[-1]) == np.float32(atom),
        )


@given(symmetric_bins(), st.lists(st.floats(-2.5, 2.5, width=32)))
@settings(deadline=None)
def test_mirrored_values_have_mirrored_bins(bins, more):
    values = np.array([*values_around(bins), *map(np.float32, more)], np.float32)
    if 0.0 in bins.edges and 0.0 not in bins.atoms:
        values = values[values != 0]  # 0 is its own mirror and can be on one side only.
    mirrored = len(bins) - 1 - bin_index(bins, values)
    np.testing.assert_array_equal(bin_index(bins, -values), mirrored)


def test_default_heads_have_the_published_numbers_of_bins():
    heads = heads_from_config(runpy.run_path(str(CONFIG))["get_config"]().heads)
    counts = {name: len(head.bins) for name, head in heads.items()}
    assert counts == {"brake": 12, "steering": 21, "throttle": 12}
    assert list(counts) == sorted(counts)
    steering, throttle = heads["steering"].bins, heads["throttle"].bins
    # Tenths are where 0.1 + 0.2 != 0.3 would show.
    labels = np.array([-1, -0.3, 0.0, 0.1, 0.3, 0.31, 1], np.float32)
    assert bin_index(steering, labels).tolist() == [0, 7, 10, 11, 13, 14, 20]
    assert bin_index(throttle, np.maximum(labels, 0)).tolist() == [0, 0, 0, 1, 3, 4, 11]


def head_of(**changes) -> Head:
    fields = {
        "name": "steering",
        "label": "angle",
        "scale": 0.4,
        "low": -1.0,
        "high": 1.0,
        "bins": Bins(edges=(-1.0, 0.0, 0.5, 1.0), atoms=(0.0,)),
        "unit": "rad",
    }
    return Head(**fields | changes)


@given(
    st.floats(2**-7, 2**7, width=32),
    st.sampled_from([-1.0, 0.0]),
    st.lists(st.floats(-200, 200, width=32), min_size=1),
)
@settings(deadline=None)
def test_targets_stay_in_range_and_controls_bring_the_labels_back(scale, low, labels):
    head = head_of(scale=scale, low=low, bins=Bins(edges=(low, 1.0)))
    learned = targets(head, np.array(labels))
    assert learned.dtype == np.float32
    assert learned.min() >= low
    assert learned.max() <= 1.0
    back = controls(head, learned)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, np.clip(labels, low * scale, scale), rtol=1e-6, atol=1e-30)


@given(
    st.lists(st.tuples(st.floats(-2, 2, width=32), st.sampled_from(["left", "center", "right"]))),
    st.floats(-1, 1, width=32),
)
def test_a_mirrored_frame_is_what_the_mirrored_car_would_have_recorded(frames, correction):
    """Mirroring swaps the cameras before their correction, so it negates the corrected label."""
    corrections = {"left": correction, "right": -correction}
    head = head_of(mirror=-1.0, corrections=corrections)
    labels = np.array([label for label, _ in frames], np.float32)
    cameras = np.array([camera for _, camera in frames], "<U6")
    plain = targets(head, labels, cameras)
    expected = [(label + corrections.get(camera, 0.0)) / 0.4 for label, camera in frames]
    np.testing.assert_allclose(plain, np.clip(expected, -1, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(targets(head, labels, cameras, mirrored=True), -plain)
    other = head_of(corrections=corrections)
    swapped = np.array([{"left": "right", "right": "left"}.get(c, c) for c in cameras], "<U6")
    mirrored = targets(other, labels, cameras, mirrored=True)
    np.testing.assert_array_equal(mirrored, targets(other, labels, swapped))


def test_controls_of_wild_predictions_stay_in_the_label_s_range():
    found = controls(head_of(), np.array([-3.0, -1.0, 0.5, 9.0]))
    np.testing.assert_allclose(found, [-0.4, -0.4, 0.2, 0.4], rtol=1e-6)


def test_bins_are_written_in_the_label_s_unit():
    assert bin_texts(head_of()) == ["-0.4 to 0", "exactly 0", "0 to 0.2", "0.2 to 0.4"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "squared error"),
        ({"loss": "huber", "delta": 0.25, "weight": 0.5}, "0.5 x huber error (delta 0.25)"),
        ({"loss": "balanced_squared", "noise": 0.2}, "balanced_squared error (noise 0.2)"),
        ({"kind": "classification"}, "cross-entropy of 4 bins, decoded by expectation"),
        (
            {"kind": "classification", "prior": "recorded"},
            "cross-entropy of 4 bins, decoded by expectation under the recorded prior",
        ),
    ],
)
def test_what_a_head_minimises_is_written_out(changes, text):
    assert learning_text(head_of(**changes)) == text


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ((), ""),
        ((1.0,), ""),
        ((0.0, 0.0), ": 0.0 follows 0.0"),
        ((1.0, 0.5), ": 0.5 follows 1.0"),
        ((0.0, 1.0, 1.0), ": 1.0 follows 1.0"),
        ((0.0, 0.6, 0.4, 1.0), ": 0.4 follows 0.6"),
        ((0.0, float("nan"), 1.0), ": nan follows 0.0"),
    ],
)
def test_edges_must_ascend(edges, told):
    with pytest.raises(UserError, match="at least two ascending edges, so that they neither") as e:
        Bins(edges=edges)
    assert str(e.value).endswith(f"found {edges}{told}")


def test_atoms_must_be_edges():
    with pytest.raises(UserError, match=r"exact values \[0\.25\] are not among the edges"):
        Bins(edges=(0.0, 0.5), atoms=(0.0, 0.25))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0.0}, r"heads\.steering\.scale must be positive, found 0\.0"),
        ({"scale": -1.0}, r"heads\.steering\.scale must be positive"),
        ({"scale": float("nan")}, r"heads\.steering\.scale must be positive, found nan"),
        ({"low": 0.0}, r"heads\.steering\.bins cover \[-1\.0, 1\.0\].* range is \[0\.0, 1\.0\]"),
        ({"mirror": 0.5}, r"heads\.steering\.mirror must be -1 or 1, found 0\.5"),
        ({"corrections": {"rear": 0.1}}, r"only the cameras left and right .* found 'rear'"),
        ({"high": 2.0}, r"heads\.steering\.bins cover"),
        ({"high": -1.0}, r"heads\.steering\.low=-1\.0 must be below high=-1\.0"),
        ({"low": float("-inf")}, r"heads\.steering\.low=-inf must be below"),
        ({"kind": "ranking"}, r"steering\.kind='ranking' is not known: one of regression, class"),
        ({"loss": "mse"}, r"heads\.steering\.loss='mse' is not known: one of squared, absolute, h"),
        ({"decode": "mean"}, r"heads\.steering\.decode='mean' is not known: one of expect"),
        ({"delta": 0.0}, r"heads\.steering\.delta must be positive, found 0\.0"),
        ({"delta": float("nan")}, r"heads\.steering\.delta must be positive, found nan"),
        ({"noise": 0.0}, r"heads\.steering\.noise must be positive, found 0\.0"),
        ({"noise": -0.1}, r"heads\.steering\.noise must be positive, found -0\.1"),
        ({"prior": "even"}, r"heads\.steering\.prior='even' is not known: one of drawn, recorded"),
        ({"prior": "recorded"}, r"a regression gives none: leave it at 'drawn', or set config.he"),
        ({"smooth_seconds": -0.1}, r"heads\.steering\.smooth_seconds has to be from 0 to 5"),
        ({"lead_seconds": 6.0}, r"heads\.steering\.lead_seconds has to be from 0 to 5, found 6"),
        ({"weight": -1.0}, r"heads\.steering\.weight must be positive, found -1\.0"),
        ({"weight": 0.0}, r"heads\.steering\.weight must be positive, found 0\.0: .* left out"),
        (
            {"kind": "classification", "bins": Bins((-1.0, 1.0))},
            r"steering\.kind='classification' needs at least 2 bins .* found 1: .*steering\.bins",
        ),
    ],
)
def test_a_head_must_fit_together(changes, message):
    with pytest.raises(UserError, match=message):
        head_of(**changes)


@pytest.mark.parametrize(
    "missing",
    [
        *("label", "scale", "low", "high", "unit", "bins", "joint_bins", "edges", "mirror"),
        *("kind", "delta"),
    ],
)
def test_a_missing_field_is_named(missing):
    fields = {"label": "angle", "scale": 1, "low": 0, "high": 1, "unit": "rad", "mirror": 1}
    bins = {"edges": (0, 1), "atoms": ()}
    fields |= {"bins": dict(bins), "joint_bins": bins, "corrections": {}, "kind": "regression"}
    fields |= {"loss": "squared", "delta": 1, "decode": "argmax", "weight": 1}
    fields |= {"smooth_seconds": 0, "lead_seconds": 0, "noise": 1, "prior": "drawn"}
    assert heads_from_config({"wheel": fields})["wheel"].bins.spans == ((0.0, 1.0),)
    assert list(heads_from_config({"wheel": fields, "brake": fields})) == ["brake", "wheel"]
    del (fields["bins"] if missing == "edges" else fields)[missing]
    with pytest.raises(UserError, match=rf"config\.heads\.wheel has no field '{missing}'"):
        heads_from_config({"wheel": fields})


def test_a_configuration_without_heads_is_refused():
    with pytest.raises(UserError, match=r"config\.heads is empty"):
        heads_from_config({})


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        (
            "bins",
            {"edges": (0.0, 0.6, 0.4), "atoms": ()},
            r"throttle\.bins need .*0\.4 follows 0\.6",
        ),
        (
            "bins",
            {"edges": (0.0, 0.5), "atoms": (0.2,)},
            r"throttle\.bins: the exact values \[0\.2",
        ),
        (
            "joint_bins",
            {"edges": (1.0, 0.0), "atoms": ()},
            r"throttle\.joint_bins need .*follows 1",
        ),
        ("bins", {"edges": (0.0, "half"), "atoms": ()}, r"throttle has a value .* 'half'"),
        ("corrections", {"left": None}, r"throttle has a value of the wrong type: .*NoneType"),
    ],
)
def test_what_is_wrong_is_told_with_the_head(field, value, told):
    config = runpy.run_path(str(CONFIG))["get_config"]().heads.to_dict()
    config["throttle"][field] = value
    with pytest.raises(UserError, match=rf"config\.heads\.{told}"):
        heads_from_config(config)


def test_pedals_are_throttle_minus_brake_and_taken_apart_again():
    labels = {
        "throttle": np.array([0.0, 0.7, 0.0, 0.2], np.float32),
        "brake": np.array([0.0, 0.0, 0.4, 0.5], np.float32),
    }
    assert derivable(labels) == ("pedals",)
    assert derivable(["throttle", "steering"]) == derivable([*labels, "pedals"]) == ()
    pedals = derive("pedals", labels)
    assert pedals.dtype == np.float32
    np.testing.assert_allclose(pedals, [0.0, 0.7, -0.4, -0.3], rtol=1e-6)
    head = head_of(name="feet", label="pedals", scale=2.0)
    assert control_names(head) == ("throttle", "brake")
    told = commands(head, pedals / np.float32(2))
    assert list(told) == ["throttle", "brake"]
    np.testing.assert_allclose(told["throttle"], [0.0, 0.7, 0.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(told["brake"], [0.0, 0.0, 0.4, 0.3], rtol=1e-6)
    steering = head_of()
    assert list(commands(steering, np.zeros(1))) == [steering.name] == [*control_names(steering)]
