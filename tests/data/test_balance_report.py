"""The report says what is there and what is drawn, in every mode."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdrive.bins import Bins
from jaxdrive.data.balance import MODES, WEIGHTED, Balance, make_plans, resolve_supervise
from jaxdrive.data.balance_report import evenness, report
from jaxdrive.evaluation.balance_table import balance_name, draw_lines, table, warnings
from jaxdrive.evaluation.wording import balance_words
from jaxdrive.heads import Head

HEADS = {
    "steering": Head(
        "steering",
        "angle",
        0.5,
        -1,
        1,
        Bins((-1, -0.6, 0, 0.6, 1), (0,)),
        "rad",
        joint_bins=Bins((-1, 0, 1)),
    ),
    "throttle": Head("throttle", "pedal", 1.0, 0, 1, Bins((0, 0.5, 1), (1,)), "share"),
}
# The bin of every label that occurs, told by hand.
ANGLES = {-0.5: 0, -0.1: 1, 0.0: 2, 0.1: 3, 0.5: 4}
PEDALS = {0.2: 0, 0.7: 1, 1.0: 2}


@given(
    st.lists(
        st.tuples(st.sampled_from(list(ANGLES)), st.sampled_from(list(PEDALS))),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(MODES),
    st.sampled_from(["auto", "all"]),
)
@settings(max_examples=100, deadline=None)
def test_report_says_what_is_there_and_what_is_drawn(rows, mode, supervise):
    angle, pedal = np.array(rows, np.float32).T
    ids = np.arange(len(rows), dtype=np.int32)
    labels = {"steering": angle, "throttle": pedal}
    cameras, supervise = np.full(len(rows), "center"), resolve_supervise(mode, supervise)
    # All lengths of passes divide it, so that what is drawn is exactly what is planned.
    size = 16 * 12 * 12
    plans = make_plans(HEADS, labels, cameras, ids, balance=Balance(mode), seed=0, batch_size=size)
    found = report(HEADS, labels, cameras, ids, plans, balance=Balance(mode), supervise=supervise)
    assert (found["mode"], found["supervise"]) == (mode, supervise)
    drawn = {name: plan.draw(0) for name, plan in plans.items()}
    every = np.concatenate(list(drawn.values()))
    told = {"steering": ANGLES, "throttle": PEDALS}
    for name, bins in told.items():
        part = found["heads"][name]
        index = np.array([bins[round(float(value), 3)] for value in labels[name]])
        frames = np.bincount(index, minlength=len(bins))
        learned = index[drawn[name] if supervise == "own" else every]
        share = np.bincount(learned, minlength=len(bins)) / len(learned)
        assert [row["frames"] for row in part["bins"]] == frames.tolist()
        assert [row["planned_share"] for row in part["bins"]] == pytest.approx(share, abs=1e-9)
        for row, expected, count in zip(part["bins"], share, frames, strict=True):
            if count:
                assert row["repeats_per_pass"] == pytest.approx(
                    expected * len(rows) / count, rel=1e-6
                )
            else:
                assert row["repeats_per_pass"] is None
        lines = "\n".join(table(found, None))
        combinations = len(
            {(a >= 0, round(float(p), 3)) for a, p in zip(angle, pedal, strict=True)}
        )
        assert (f"; {combinations} combinations of labels" in lines) == (mode == "v1")
        for row, count in zip(part["bins"], frames, strict=True):
            assert count or row["text"] in lines.split("missing: ", 1)[1]
    assert [(row["low"], row["high"]) for row in found["heads"]["steering"]["bins"]] == [
        (low * 0.5, high * 0.5) for low, high in HEADS["steering"].bins.spans
    ]


def test_evenness_is_entropy_over_the_largest_possible():
    assert evenness(np.full(4, 0.25), np.ones(4)) == pytest.approx(1)
    assert evenness(np.array([0.5, 0.5, 0, 0]), np.array([1, 1, 1, 1])) == pytest.approx(0.5)
    assert evenness(np.array([0.75, 0.25, 0]), np.array([3, 1, 0])) == pytest.approx(
        -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    )
    assert evenness(np.array([1.0, 0.0]), np.array([5, 0])) is None


def report_of(labels, balance):
    """The report of one head, steering, whose frames have these labels."""
    head, labels = HEADS["steering"], {"steering": np.array(labels, np.float32)}
    ids = np.arange(len(labels["steering"]), dtype=np.int32)
    about = ({"steering": head}, labels, np.full(len(ids), "center"), ids)
    plans = make_plans(*about, balance=balance, seed=0, batch_size=8)
    return report(*about, plans, balance=balance, supervise="own")


def test_what_a_limit_did_is_told():
    """Of 500 frames one is alone in its bin: with two bins alike it gets half of the draws."""
    labels = [0.0] * 499 + [-0.1]
    found = report_of(labels, Balance("v2"))
    assert found["heads"]["steering"]["draws"] == pytest.approx(
        {"repeats": 250, "top_share": 0.5 + 4 * 0.5 / 499}
    )
    assert "is drawn 250 times as often as an average one" in draw_lines(found)[0]
    assert "get 50.4 % of the draws" in draw_lines(found)[0]
    (warning,) = warnings(found)
    assert "Head steering draws one frame 250 times as often" in warning
    assert "--config.balance_limit=10 limits that" in warning

    limited = report_of(labels, Balance("v2", limit=10))
    draws = limited["heads"]["steering"]["draws"]
    assert draws["unlimited"] == pytest.approx({"repeats": 250, "top_share": 0.5 + 2 / 499})
    assert draws["limited"] == 1
    # It gets 10 of 500 draws instead of 250.
    assert draws["moved"] == pytest.approx(0.48)
    assert draws["repeats"] == pytest.approx(10, rel=0.01)
    (line,) = draw_lines(limited)
    assert "Without the limit of 10 these were 250 times and 50.4 %" in line
    assert "it holds 1 frame back and moves 48.0 % of the draws to other bins" in line
    assert line.removeprefix("Draws of steering: ") in "\n".join(table(limited, None))
    assert "Balance v2 (limit 10); every" in table(limited, None)[0]
    assert not warnings(limited)

    # A limit that is never reached takes nothing away.
    idle = report_of(labels, Balance("v2", limit=300))
    draws = idle["heads"]["steering"]["draws"]
    assert (draws["limited"], draws["moved"]) == (0, 0)
    assert draw_lines(idle)[0].endswith("of the draws. The limit of 300 holds none back")
    assert not draw_lines(report_of(labels, Balance("none")))
    assert not warnings(report_of(labels, Balance("none")))
    # 49 times as often is still without a warning.
    assert not warnings(report_of([0.0] * 97 + [0.1], Balance("v2")))
    (other,) = warnings(report_of(labels, Balance("v1")))
    assert "with --config.balance=v2 or v3" in other


def test_unequal_bins_are_not_said_to_be_equal():
    for mode in WEIGHTED:
        said = balance_words(report_of([0.0] * 9 + [0.1], Balance(mode)))
        assert "draws all parts of its own label alike" in said
        for less in ({"power": 0.5}, {"limit": 3.0}, {"smoothing": 0.2}):
            said = balance_words(report_of([0.0] * 9 + [0.1], Balance(mode, **less)))
            assert "though not all alike" in said
            assert ("the other heads' frames" in said) == (mode == "v3")
    # As an earlier version wrote it.
    assert "draws all parts" in balance_words({"mode": "v2"})
    assert balance_name({"mode": "v2"}) == "v2"
