"""Datasets and batches are shown as they are: what is drawn is what training gets."""

import collections
import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

from configs import default
from jaxdrive.data import bad_rows
from jaxdrive.data.balance import Balance, make_plans
from jaxdrive.data.frames import BadRow
from jaxdrive.data.image_reader import ImageReader
from jaxdrive.data.loader import Examples
from jaxdrive.errors import UserError
from jaxdrive.evaluation import inspect, inspect_plots
from jaxdrive.evaluation.replay import replay
from jaxdrive.heads import controls
from jaxdrive.training import parts
from jaxdrive.training.augment import make_augment
from jaxdrive.views import TRANSFORMS
from tests.data import tiny
from tests.training import pixel_reference as reference

BATCH = 12
POSITIONS = 2


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tiny.Tiny:
    return tiny.make(tmp_path_factory.mktemp("inspect") / "dataset")


@pytest.fixture(scope="module")
def examples(small) -> Examples:
    return Examples(small.dataset, ImageReader(small.dataset), tiny.HEADS, small.dataset.labels, {})


def config_of(*, supervise: str = "own", drawn: str = "none", **augment) -> dict:
    """The default configuration for the tiny dataset, with its durations in steps."""
    config = default.get_config().to_dict()
    config |= {"batch_size": BATCH, "num_steps": 10, "supervise": supervise, "seed": 5}
    config["views"] = drawn
    config["data"] |= {"height": tiny.HEIGHT, "width": tiny.WIDTH}
    config["model"] |= {"channels": (4,), "common": (4,), "head": ()}
    config["heads"] = {
        name: dataclasses.asdict(head)
        | {"joint_bins": dataclasses.asdict(head.bins)}
        | {"bins": {"edges": head.bins.edges, "atoms": head.bins.atoms}}
        for name, head in tiny.HEADS.items()
    }
    for kind, values in augment.items():
        config["augment"][kind] |= values
    return config


EVERYTHING = {
    "flip": {"probability": 0.5},
    "shift": {"sideways": 2, "along": 1, "label_per_pixel": {"steering": 0.03}},
    # Half of its strength at step 1.
    "brightness": {"spread": 0.4, "schedule": ((0, 0.0), (2, 1.0))},
    "gamma": {"spread": 0.5},
    "colour_mix": {"probability": 0.5, "spread": 0.6, "offset": 0.2, "invert": 0.5},
    "crop": {"top": 2, "bottom": 1},
    "shadow": {"probability": 0.5},
    "contrast": {"spread": 0.3},
    "saturation": {"spread": 0.3},
    "hue": {"spread": 0.1},
    "blur": {"sigma": 1.0},
    "noise": {"std": 0.02},
    "small_angles": {"probability": 0.5, "below": 0.2},
    # Half of the mirrored views are mirrored, and half as bright or dark as they would be.
    "views": {"schedule": ((0, 0.5),)},
}


def test_a_replayed_batch_is_what_the_train_step_saw(small, monkeypatch):
    """Four devices train and tell what they changed their rows to."""
    config = config_of(supervise="all", drawn="fourteen", **EVERYTHING)
    seen = collections.defaultdict(dict)

    def told(*arguments, **keywords):
        augment = make_augment(*arguments, **keywords)

        def tell(batch, *, position, step, first_row):
            changed = augment(batch, position=position, step=step, first_row=first_row)
            jax.debug.callback(
                lambda position, row, batch: seen[int(position)].update({int(row): batch}),
                position,
                first_row,
                changed,
            )
            return changed

        return tell

    with monkeypatch.context() as patch:
        patch.setattr(parts, "make_augment", told)
        trainer = parts.make_trainer(config, small.dataset)
    partition = trainer.network.partition
    state = partition.put_state(trainer.init())
    batches = parts.batches_from(trainer, config, 0)
    for batch in itertools.islice(batches, POSITIONS):
        state, _ = trainer.train_step(state, partition.put_batch(batch))
    jax.effects_barrier()

    position = POSITIONS - 1
    shown = replay(config, small.dataset, position=position)
    assert sorted(seen[position]) == [0, 3, 6, 9]
    devices = [seen[position][row] for row in sorted(seen[position])]
    for name, part in shown.items():
        images = np.concatenate([rows[name]["inputs"]["image"] for rows in devices])
        np.testing.assert_array_equal(part.images, images, strict=True)
        records = np.concatenate([rows[name]["record"] for rows in devices])
        np.testing.assert_array_equal(part.records, records, strict=True)
        left_out = ~np.concatenate([rows[name]["mask"] for rows in devices])
        assert left_out.any()
        assert left_out.tolist() == ["left out for its small" in text for text in part.changes]
        assert list(part.learned) == list(part.recorded) == list(tiny.HEADS)
        for head, learned in part.learned.items():
            targets = np.concatenate([rows[name]["labels"][head] for rows in devices])
            np.testing.assert_array_equal(learned, controls(tiny.HEADS[head], targets))
            np.testing.assert_array_equal(part.recorded[head], small.labels[head][records])


def test_the_words_say_what_happened_to_picture_and_label(small):
    config = config_of(flip=EVERYTHING["flip"], shift=EVERYTHING["shift"])
    part = replay(config | {"batch_size": 4 * BATCH}, small.dataset, position=2)["steering"]
    assert list(part.learned) == ["steering"]
    heard = set()
    for row, record in enumerate(part.records):
        image, right, down = small.images[record], 0, 0
        steering = small.labels["steering"][record]
        correction = {"center": 0, "left": 0.25, "right": -0.25}[small.cameras[record]]
        for word in part.changes[row].split(", "):
            heard.add(word.split()[0])
            if word == "flipped":
                image, steering, correction = image[:, ::-1], -steering, -correction
            elif word.startswith("shift "):
                right, down = map(int, word.removeprefix("shift ").split("/"))
            else:
                assert word == "unchanged"
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
        height, width = image.shape[:2]
        moved = padded[2 - down :, 2 - right :][:height, :width]
        np.testing.assert_array_equal(part.images[row], moved)
        target = np.clip(steering + correction, -0.5, 0.5)
        learned = np.clip(target + 0.03 * right, -0.5, 0.5)
        np.testing.assert_allclose(part.learned["steering"][row], learned, atol=1e-6)
    assert heard == {"flipped", "shift", "unchanged"}
    changes = replay(config_of(**EVERYTHING), small.dataset, position=1)["steering"].changes
    assert all("brightness " in words and "gamma " in words for words in changes)
    assert 0 < sum("colours mixed" in words for words in changes) < BATCH
    factors = [float(words.partition("brightness ")[2].split(",")[0]) for words in changes]
    assert max(abs(factor - 1) for factor in factors) <= 0.2 + 0.005
    for kind in ("crop", "shadow", "contrast", "saturation", "hue", "blur", "noise"):
        assert any(f"{kind} " in f"{words}, ".replace(",", " ") for words in changes), kind


def test_the_words_name_the_view_that_is_shown(small):
    """A flip turns a mirrored view back."""
    config = config_of(drawn="fourteen", flip={"probability": 0.5}) | {"batch_size": 4 * BATCH}
    part = replay(config, small.dataset, position=2)["steering"]
    heard = set()
    for row, record in enumerate(part.records):
        view, *changes = part.changes[row].removeprefix("view: ").split(", ")
        heard |= {view, *changes}
        image = small.images[record][:, :: (-1) ** len(changes)] / 255
        number = [transform.name for transform in TRANSFORMS].index(view)
        want = reference.view(image, number) * 255
        np.testing.assert_allclose(part.images[row], want, atol=0.51)
    assert heard == {transform.name for transform in TRANSFORMS[:7]} | {"flipped"}
    config["augment"]["views"]["schedule"] = ((0, 0.5),)
    part = replay(config, small.dataset, position=2)["steering"]
    assert any(words.startswith("view: 50% of V x 0.25") for words in part.changes)


def test_views_are_what_is_counted_where_they_are_drawn(small):
    config = config_of(drawn="fourteen")
    lines = inspect.draw_dataset(config, small.dataset, epath.Path(small.dataset.path.parent / "v"))
    batches = math.ceil(41 * 14 / BATCH)
    assert lines[0].startswith(
        f"Training draws from {41 * 14} views; drawn: the first {batches} batches"
    )
    zeros = 14 * int((small.labels["throttle"][small.dataset.ids("train")] == 0).sum())
    rows = [line.split() for line in lines]
    (row,) = [cells for cells in rows[-8:] if cells[:2] == ["exactly", "0"]]
    assert row[2] == str(zeros)
    assert parts.steps_per_epoch(config, small.dataset) == 41 * 14 / BATCH


@given(st.integers(1, 80), st.sampled_from(["train", "validation", "test"]))
def test_shown_frames_are_spread_over_sessions_and_cameras(small, count, split):
    ids = small.dataset.ids(split)
    chosen = inspect_plots.spread_over_sessions(small.dataset, ids, count=count)
    assert set(chosen) <= set(ids)
    assert len(set(chosen)) == len(chosen) <= count
    sessions = set(small.dataset.sessions[ids])
    shown = collections.Counter(small.dataset.sessions[chosen])
    assert len(shown) == min(count, len(sessions))
    if count < 10:
        assert max(shown.values()) - min(shown.values()) <= 1
        assert len(set(small.dataset.cameras[chosen])) == min(count, 3)


def test_draws_are_counted_in_the_bins_that_were_planned(small, examples):
    ids = small.dataset.ids("train")
    plans = make_plans(
        tiny.HEADS,
        small.dataset.labels,
        small.dataset.cameras,
        ids,
        balance=Balance("v2"),
        seed=4,
        batch_size=BATCH,
    )
    for supervise, heads in (("own", ["throttle"]), ("all", list(plans))):
        drawn = inspect.draws(examples, plans, supervise=supervise, views="none", batches=7)
        counted = drawn["throttle"]
        records = np.concatenate([plans[head].draw(p) for head in heads for p in range(7)])
        by_hand = [0, 0, 0, 0]  # exactly 0, up to 0.5, up to 1, exactly 1
        for value in small.labels["throttle"][records]:
            by_hand[0 if value == 0 else 3 if value == 1 else 1 if value <= 0.5 else 2] += 1
        assert counted == by_hand
        assert supervise == "all" or max(by_hand) - min(by_hand) <= 1


def test_the_timeline_shows_every_moment_once_in_the_colour_of_its_split(small):
    # As blocks of one session: a, b, c and d follow each other.
    times = np.arange(len(small.sessions), dtype=np.float64)
    one = dataclasses.replace(
        small.dataset, sessions=np.full(len(times), "lake"), times=times, origins=times
    )
    for dataset, sessions in ((small.dataset, ["a", "b", "c", "d"]), (one, ["lake"])):
        figure = inspect_plots.timeline(dataset)
        grid = np.reshape(figure.axes, (len(sessions), len(tiny.LABELS)))
        assert [axes.get_title(loc="left") or axes.get_title() for axes in grid[0]] == sorted(
            tiny.LABELS
        )
        assert [row[0].get_ylabel() for row in grid] == sessions
        for row, session in zip(grid, sessions, strict=True):
            for axes, label in zip(row, sorted(tiny.LABELS), strict=True):
                for line in axes.lines:
                    own = (
                        (dataset.sessions == session)
                        & (dataset.splits == line.get_label())
                        & (dataset.cameras == "center")
                    )
                    there = ~np.isnan(line.get_ydata())
                    np.testing.assert_array_equal(line.get_xdata()[there], dataset.times[own])
                    np.testing.assert_array_equal(
                        line.get_ydata()[there], dataset.labels[label][own]
                    )
        colours = {line.get_label(): line.get_color() for line in grid[0][0].lines}
        assert len(set(colours.values())) == 3


BAD = bad_rows.report(
    [BadRow(f"log.csv, row {i}", "image missing", f"there is no IMG/{i}.jpg") for i in range(11)]
    + [BadRow("log.csv, row 11", bad_rows.NO_NUMBER, "steering is 'left'")]
)


def test_the_text_says_what_is_there_and_what_was_left_out(small):
    lines = inspect.describe(small.dataset)
    assert lines[0] == f"Dataset tiny in {small.dataset.path}"
    assert lines[1].startswith("53 pictures of 6 x 8 (rows x columns), ")
    cells = [line.split() for line in lines]
    assert ["train", "validation", "test"] in cells
    assert ["frames", "41", "7", "5"] in cells
    assert ["sessions", "2", "1", "1"] in cells
    left = [
        str(sum(c == "left" and s == split for c, s in zip(small.cameras, splits, strict=True)))
        for splits in [small.dataset.splits]
        for split in ("train", "validation", "test")
    ]
    assert ["left", "camera", *left] in cells
    throttle = small.labels["throttle"]
    assert ["throttle", *(f"{f(throttle):.4g}" for f in (np.min, np.mean, np.max))] in cells
    assert lines[-1] == "Bad rows: none"

    bad = dataclasses.replace(small.dataset, manifest={**small.dataset.manifest, "bad_rows": BAD})
    told = inspect.describe(bad)[len(lines) - 1 :]
    assert told[0] == ("Bad rows: 12 left out (image missing 11, label is no number 1)")
    assert told[1] == "  log.csv, row 0: image missing (there is no IMG/0.jpg)"
    assert told[-1] == "  ... and 2 more, see manifest.json"
    assert len(told) == 12


def test_pictures_lie_beside_the_dataset_and_replace_older_ones(small):
    bad = dataclasses.replace(small.dataset, manifest={**small.dataset.manifest, "bad_rows": BAD})
    folder = inspect.folder_for(bad, None)
    assert folder == epath.Path(small.dataset.path.parent / "dataset-inspect")
    assert inspect.folder_for(bad, epath.Path("/runs/a")) == epath.Path("/runs/a/inspect")
    lines = inspect.draw_dataset(config_of(), bad, folder)
    names = {f"frames-{split}.png" for split in ("train", "validation", "test")}
    names |= {"labels-steering.png", "labels-throttle.png", "sessions.png", "inspect.html"}
    names |= {f"camera-{camera}.png" for camera in tiny.CAMERAS}
    assert {path.name for path in folder.iterdir()} == names | {"bad-rows.png"}
    count = math.ceil(41 / BATCH)
    assert lines[0].startswith("Training draws from 41 frames; drawn: the first 4 b")
    assert lines[1] == "Balance v2; every head learns from its own batches"
    assert count == 4
    table = [line.split() for line in lines]
    zeros = int((small.labels["throttle"][small.dataset.ids("train")] == 0).sum())
    (row,) = [cells for cells in table[-8:] if cells[:2] == ["exactly", "0"]]
    assert row[2:7] == [str(zeros), f"{100 * zeros / 41:.1f}", "%", "25.0", "%"]
    assert row[-2:] == ["25.0", "%"]

    inspect.draw_batch(config_of(), bad, folder, position=3)
    drawn = {"batch-3-steering-1.png", "batch-3-throttle-1.png"}
    assert {path.name for path in folder.iterdir()} == names | drawn | {"bad-rows.png"}
    fewer = config_of() | {"heads": {"steering": config_of()["heads"]["steering"]}}
    inspect.draw_batch(fewer, bad, folder, position=3)
    inspect.draw_dataset(fewer, small.dataset, folder)
    names -= {"labels-throttle.png"}
    assert {path.name for path in folder.iterdir()} == names | {"batch-3-steering-1.png"}


def test_settings_that_do_not_fit_are_named(small, tmp_path):
    config = config_of()
    config["heads"]["throttle"]["label"] = "gas"
    with pytest.raises(UserError, match=r"throttle\.label asks for the label 'gas'.*it has speed"):
        inspect.draw_batch(config, small.dataset, epath.Path(tmp_path), position=0)
    config = config_of()
    config["data"]["width"] = 9
    with pytest.raises(UserError, match=r"has pictures of \(6, 8\), the configuration of \(6, 9\)"):
        inspect.draw_dataset(config, small.dataset, epath.Path(tmp_path))
    assert not list(tmp_path.iterdir())
