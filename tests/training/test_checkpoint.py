"""Checkpoints: what is kept, what comes back, and what damage does."""

import math
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath
from jax.sharding import SingleDeviceSharding

from jaxdrive.errors import UserError
from jaxdrive.training import checkpoint
from jaxdrive.training.state import TrainState

# Orbax's own threads now and then drop an exception of a read that already failed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
)

OPTIMIZER = optax.adam(1e-3)


def state_at(step: int, *, width: int = 3) -> TrainState:
    params = {"layer": {"kernel": jnp.full((2, width), float(step)), "bias": jnp.ones(width)}}
    return TrainState(
        step=jnp.int32(step),
        position=jnp.int32(step + 1),
        params=params,
        batch_stats={"mean": jnp.full(2, 0.5)},
        opt_state=OPTIMIZER.init(params),
    )


def save_all(workdir, skills: dict[int, float | None], *, keep_every: int = 0) -> list[int]:
    """Saves a checkpoint at every step of `skills`; the steps that are left in the end."""
    with checkpoint.open_manager(workdir, keep_every=keep_every) as manager:
        for step, skill in skills.items():
            checkpoint.save(manager, step, state_at(step), meta={"note": step}, skill=skill)
        manager.wait_until_finished()
        return sorted(manager.all_steps())


def here():
    return SingleDeviceSharding(jax.devices()[0])


def restore(workdir, template=None):
    with checkpoint.open_manager(workdir) as manager:
        return checkpoint.restore_latest(manager, template or state_at(0), here())


def damage(workdir, step: int) -> None:
    """Empties the files that hold the arrays of a checkpoint."""
    folder = Path(workdir) / checkpoint.FOLDER / str(step)
    emptied = [path for path in folder.glob("**/d/*") if path.is_file()]
    assert emptied
    for path in emptied:
        path.write_bytes(b"")


@pytest.fixture
def workdir(tmp_path):
    return epath.Path(tmp_path)


def assert_same(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def test_everything_comes_back(workdir):
    save_all(workdir, {5: 0.1})
    assert_same(restore(workdir), state_at(5))


def test_the_model_is_the_average_and_training_goes_on_from_both(workdir):
    state = state_at(5)
    state = state.replace(average=jax.tree.map(lambda leaf: leaf / 3, state.params))
    with checkpoint.open_manager(workdir) as manager:
        checkpoint.save(manager, 5, state, meta={}, skill=None)
        manager.wait_until_finished()
        params, batch_stats = checkpoint.restore_model(manager, 5, state_at(0), here())
    assert_same((params, batch_stats), (state.average, state.batch_stats))
    restored = restore(workdir, state_at(0).replace(average=state_at(0).params))
    assert_same(restored, state)


def test_the_latest_two_the_best_and_every_keep_every_th_are_kept(workdir):
    skills = {10: 0.1, 20: 0.9, 30: None, 35: math.nan, 40: 0.3, 50: 0.2, 60: -math.inf}
    assert save_all(workdir, skills, keep_every=15) == [20, 30, 50, 60]
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        assert checkpoint.choose_step(manager, None) == 20
        assert checkpoint.choose_step(manager, 50) == 50
        with pytest.raises(
            UserError, match=r"no checkpoint of step 7 .*: there are 20, 30, 50, 60"
        ):
            checkpoint.choose_step(manager, 7)


def test_without_measurements_the_latest_is_chosen(workdir):
    save_all(workdir, {1: None, 2: None})
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        assert checkpoint.choose_step(manager, None) == 2


def test_a_half_deleted_checkpoint_is_not_chosen(workdir):
    save_all(workdir, {1: 0.9, 2: 0.1, 3: None})
    shutil.rmtree(workdir / checkpoint.FOLDER / "1" / "metrics")
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        assert checkpoint.choose_step(manager, None) == 2


def test_no_checkpoint_is_an_error_that_says_where(workdir):
    with (
        checkpoint.open_manager(workdir) as manager,
        pytest.raises(UserError, match=f"no checkpoint in {workdir}/checkpoints: train first"),
    ):
        checkpoint.choose_step(manager, None)
    assert restore(workdir) is None


def test_damage_falls_back_and_lets_the_step_be_saved_anew(workdir, caplog):
    save_all(workdir, {1: None, 2: None, 3: None})
    damage(workdir, 3)
    with checkpoint.open_manager(workdir) as manager:
        assert_same(checkpoint.restore_latest(manager, state_at(0), here()), state_at(2))
        assert "Checkpoint 3 cannot be read" in caplog.text
        assert (workdir / checkpoint.FOLDER / "3.unreadable").exists()
        checkpoint.save(manager, 3, state_at(3), meta={}, skill=None)
        manager.wait_until_finished()
    assert_same(restore(workdir), state_at(3))


def test_nothing_is_deleted_where_nothing_can_be_read(workdir):
    save_all(workdir, {1: None, 2: None})
    damage(workdir, 1)
    damage(workdir, 2)
    with pytest.raises(UserError, match=r"none of the checkpoints \[1, 2\] .* left as they are"):
        restore(workdir)
    assert {p.name for p in (workdir / checkpoint.FOLDER).iterdir()} >= {"1", "2"}


def test_a_full_disk_keeps_what_is_there(workdir, monkeypatch):
    save_all(workdir, {1: None})
    usage = shutil.disk_usage(workdir)._replace(free=500_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"no space left .* 0\.5 MB are free, 1\.0 MB are needed"):
        save_all(workdir, {2: None})
    assert_same(restore(workdir), state_at(1))


@pytest.mark.parametrize("missing", ["model", "train"])
def test_a_missing_part_falls_back(workdir, missing):
    save_all(workdir, {1: None, 2: None})
    shutil.rmtree(workdir / checkpoint.FOLDER / "2" / missing)
    assert_same(restore(workdir), state_at(1))


def test_another_network_is_refused_and_kept(workdir):
    save_all(workdir, {1: None})
    with pytest.raises(
        UserError, match=r"another network: .*float32\[3\] there, float32\[4\] here"
    ):
        restore(workdir, state_at(0, width=4))
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), state_at(0).params)
    with pytest.raises(UserError, match=r"float32\[3\] there, bfloat16\[3\] here"):
        restore(workdir, state_at(0).replace(params=half))
    assert_same(restore(workdir), state_at(1))


def test_the_model_restores_alone_on_any_devices(workdir):
    save_all(workdir, {1: None})
    shutil.rmtree(workdir / checkpoint.FOLDER / "1" / "train")
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    with checkpoint.open_manager(workdir, read_only=True) as manager:
        params, batch_stats = checkpoint.restore_model(manager, 1, state_at(0), everywhere)
    assert params["layer"]["kernel"].sharding.device_set == set(jax.devices())
    assert_same((params, batch_stats), (state_at(1).params, state_at(1).batch_stats))
