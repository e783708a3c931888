"""A run that starts from another's weights, through the command line."""

import json

import jax
import numpy as np
from etils import epath

from jaxdrive.training import checkpoint
from tests.end_to_end.conftest import final_state, fresh_state
from tests.end_to_end.test_bad_input import assert_refused

# So that nothing moves but the moving averages.
STILL = {"optim.learning_rate": 0.0, "num_steps": 4, "eval_every": 0, "drive.tracks": 0}


def same(a, b) -> bool:
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(left, right) for left, right in leaves)


def test_a_run_starts_from_the_backbone_of_another(trained, launch, tmp_path):
    fields = STILL | {"init_from": trained, "seed": 1}
    best = json.loads((trained / "evaluation.json").read_text())["step"]
    done = launch("train", workdir=tmp_path, **fields)
    assert done.returncode == 0, done.stderr
    assert f"Weights from checkpoint {best} of {trained}:" in done.stdout
    assert "  loaded: backbone (" in done.stdout
    left = "  left as drawn at random: brake_0, brake_output, common_0, steering_0,"
    assert left in done.stdout
    with checkpoint.open_manager(epath.Path(trained), read_only=True) as manager:
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        theirs, _ = checkpoint.restore_any_model(manager, best, device)
    got, fresh = final_state(tmp_path), fresh_state(tmp_path)
    for layer, params in got.params.items():
        assert same(params, (theirs if layer == "backbone" else fresh.params)[layer])
        assert not same(theirs[layer], fresh.params[layer])

    # It goes on from its own checkpoint, wherever init_from points by now.
    changed = fields | {"init_from": tmp_path / "nowhere.h5", "num_steps": 6}
    again = launch("train", workdir=tmp_path, **changed)
    assert again.returncode == 0, again.stderr
    assert "Going on from the checkpoint of step 4" in again.stdout
    assert "Weights from" not in again.stdout
    told = json.loads((tmp_path / "run.json").read_text())["initial_weights"]
    assert told[0] == f"Weights from checkpoint {best} of {trained}:"


def test_heads_that_meant_something_else_are_told(trained, launch, tmp_path):
    fields = STILL | {"init_from": trained, "init_part": "all"}
    other = {"heads.throttle.scale": 2.0, "heads.brake.label": "throttle", "heads.brake.scale": 1.0}
    done = launch("train", workdir=tmp_path, **fields | other)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if "was trained with" in line]
    # Steering means what it meant.
    assert len(told) == 2
    assert "brake was trained with label 'brake', here 'throttle' and scale 0.8," in told[0]
    assert "Head throttle was trained with scale 1.0, here 2.0: its first" in told[1]


def test_weights_that_do_not_fit_are_refused_before_anything(trained, launch, tmp_path):
    fields = {"data.dir": tmp_path / "datasets", "init_from": trained}
    done = launch("train", workdir=tmp_path / "run", **fields | {"model.channels": "(4,8,9)"})
    kernel = "backbone/Conv_2/kernel"
    assert_refused(done, "config.init_part='backbone'", f"{kernel} [3, 3, 8, 8]", f"{kernel} [3, 3")
    done = launch("train", workdir=tmp_path / "run", **fields | {"init_from": tmp_path})
    assert_refused(done, f"config.init_from={tmp_path} is a folder without checkpoints")
    nowhere = tmp_path / "nowhere.h5"
    done = launch("train", workdir=tmp_path / "run", **fields | {"init_from": nowhere})
    assert_refused(done, f"config.init_from={nowhere}: there is no such file or folder")
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == ["compiled"]
