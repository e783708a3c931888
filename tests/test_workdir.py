"""A workdir belongs to one run: what may change between its commands, and what may not."""

import copy
import json
import logging
import platform

import jax
import pytest
from etils import epath

import jaxdrive
from configs import default
from jaxdrive import workdir as workdirs
from jaxdrive.errors import UserError

CONFIG = {
    "seed": 0,
    "num_steps": 100,
    "heads": {
        "steering": {
            "label": "steering",
            "bins": {"edges": (-1.0, 0.0, 1.0)},
            "kind": "regression",
            "loss": "squared",
        }
    },
    "scalars": {"speed": 0.01},
    "model": {"backbone": "small", "channels": (16, 32), "dropout": 0.0},
    "optim": {"name": "adam", "learning_rate": 1e-3},
    "data": {"episodes": 20, "noise": 0.2, "dir": "datasets", "fraction": 1.0},
}


@pytest.fixture
def workdir(tmp_path) -> epath.Path:
    return epath.Path(tmp_path) / "runs" / "first"


# What the newest checkpoint says of its run; JSON has made lists of the tuples.
META = {"config": json.loads(json.dumps(CONFIG)), "dataset_fingerprint": "data-1"}


def changed(**fields) -> dict:
    """CONFIG with other values, by names like model__backbone."""
    config = copy.deepcopy(CONFIG)
    for name, value in fields.items():
        *groups, last = name.split("__")
        place = config
        for group in groups:
            place = place[group]
        place[last] = value
    return config


def test_the_same_configuration_goes_on_without_a_word(workdir, caplog):
    caplog.set_level(logging.INFO, logger="jaxdrive")
    workdirs.check_same_run(workdir, CONFIG, ["data-1"], META)
    assert not caplog.records


def test_a_run_from_before_a_field_was_there_goes_on(workdir):
    older = copy.deepcopy(META)
    del older["config"]["model"]["dropout"]
    workdirs.check_same_run(workdir, CONFIG, ["data-1"], older)
    # An older jaxdrive had another name for the same frames.
    workdirs.check_same_run(workdir, CONFIG, ["data-3", "data-1"], older)
    with pytest.raises(UserError, match=r"model\.dropout: 0\.0 there, 0\.5 now"):
        workdirs.check_same_run(workdir, changed(model__dropout=0.5), ["data-1"], older)
    workdirs.write_config(workdir, older["config"])
    assert workdirs.read_config(workdir)["model"] == CONFIG["model"] | {"channels": [16, 32]}
    workdirs.write_config(workdir, changed(model__dropout=0.5))
    assert workdirs.read_config(workdir)["model"]["dropout"] == 0.5


def test_settings_that_may_change_are_told(workdir, caplog):
    caplog.set_level(logging.INFO, logger="jaxdrive")
    new = changed(num_steps=200, optim__learning_rate=0.01, data__dir="elsewhere")
    changes = workdirs.check_same_run(workdir, new, ["data-1"], META)
    lines = workdirs.record_changes(workdir, 100, changes)
    assert lines == [record.getMessage() for record in caplog.records]
    assert "Changed at step 100: config.num_steps: 100 -> 200" in lines
    assert "Changed at step 100: config.optim.learning_rate: 0.001 -> 0.01" in lines
    # A command that was cut off before its first checkpoint is given again.
    for _ in range(2):
        workdirs.record_changes(workdir, 100, changes)
    kept = workdirs.read_json(workdir / workdirs.RUN_FILE)["changes"]
    assert len(kept) == 3
    assert {"step": 100, "field": "num_steps", "before": 100, "after": 200} in kept
    assert "Changed at step 100: config.data.dir: 'datasets' -> 'elsewhere'" in lines


def test_another_compilation_cache_is_no_change_of_a_run(workdir):
    new = changed(compilation_cache="elsewhere", num_steps=200)
    assert workdirs.check_same_run(workdir, new, ["data-1"], META) == {"num_steps": (100, 200)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 1),
        ("model__backbone", "large"),
        ("model__channels", (16, 32, 64)),
        ("heads__steering__label", "throttle"),
        ("heads__steering__bins__edges", (-1.0, 1.0)),
        ("heads__steering__kind", "classification"),
        ("heads__steering__loss", "huber"),
        ("heads__brake", {"label": "brake"}),
        ("scalars", {}),
        ("optim__name", "sgd"),
        ("data__fraction", 0.5),
    ],
)
def test_another_network_needs_another_workdir(workdir, field, value):
    new = changed(**{field: value, "num_steps": 7})
    with pytest.raises(UserError) as caught:
        workdirs.check_same_run(workdir, new, ["data-1"], META)
    text = str(caught.value)
    assert text.startswith(f"{workdir} holds a run of another network or other data:\n")
    assert f"  {field.replace('__', '.')}" in text
    assert "num_steps" not in text
    assert "another --workdir" in text


def test_an_average_of_parameters_is_kept_from_the_start_or_never(workdir):
    def changes(before, now):
        meta = META | {"config": json.loads(json.dumps(changed(optim__ema=before)))}
        return workdirs.check_same_run(workdir, changed(optim__ema=now), ["data-1"], meta)

    assert changes(0.99, 0.9) == {"optim.ema": (0.99, 0.9)}
    assert changes(0.0, 0.0) == {}
    for before, now in ((0.0, 0.99), (0.99, 0.0)):
        with pytest.raises(UserError, match=rf"optim\.ema: {before} there, {now} now"):
            changes(before, now)
    # A run from before there were averages.
    with pytest.raises(UserError, match=r"optim\.ema: 0\.0 there, 0\.99 now"):
        workdirs.check_same_run(workdir, changed(optim__ema=0.99), ["data-1"], META)


def test_a_run_of_the_first_small_inception_names_the_way_out(workdir):
    network = {"backbone": "small_inception", "batch_norm": {"use": True}}
    now, before = changed(model=network), changed(model=network | {"batch_norm": {"use": False}})
    workdirs.write_config(workdir, now)
    assert workdirs.read_config(workdir)["model"]["backbone"] == "small_inception"
    workdirs.write_config(workdir, before)
    told = rf"^{workdir} holds a run of small_inception without .* train again with another"
    with pytest.raises(UserError, match=told):
        workdirs.read_config(workdir)
    with pytest.raises(UserError, match=told):
        workdirs.check_same_run(workdir, now, ["data-1"], META | {"config": before})


def test_other_data_need_another_workdir_and_the_settings_are_named(workdir):
    with pytest.raises(UserError, match=r"data\.episodes: 20 there, 30 now"):
        workdirs.check_same_run(workdir, changed(data__episodes=30), ["data-2"], META)
    # Nothing changed in the configuration, but what is found under its path.
    for same in (CONFIG, changed(num_steps=7)):
        with pytest.raises(UserError, match=r"of other data: .*\.prepared=\S+/data-1; else"):
            workdirs.check_same_run(workdir, same, ["data-2"], META)


def test_the_configuration_is_kept_as_it_is(workdir):
    workdirs.write_config(workdir, CONFIG)
    kept = workdirs.flatten(workdirs.read_config(workdir))
    assert {name: kept[name] for name in workdirs.flatten(META["config"])} == workdirs.flatten(
        META["config"]
    )


def test_a_run_from_before_later_fields_has_them_switched_off(workdir):
    now = default.get_config().to_dict()
    old = copy.deepcopy(now)
    for name in workdirs._LATER_FIELDS:
        *groups, last = name.split(".")
        places = [old]
        for group in groups:
            inner = [[p[group]] if group != "*" else p.values() for p in places]
            places = [place for several in inner for place in several]
        assert places
        for place in places:
            del place[last]
    workdirs.write_config(workdir, old)
    known = json.loads(json.dumps(workdirs.read_config(workdir)))
    assert known == json.loads(json.dumps(now))
    meta = {"config": json.loads(json.dumps(old)), "dataset_fingerprint": "data-1"}
    assert workdirs.check_same_run(workdir, now, ["data-1"], meta) == {}
    now["augment"]["shadow"]["probability"] = 0.5
    changes = workdirs.check_same_run(workdir, now | {"views": "fourteen"}, ["data-1"], meta)
    assert changes == {
        "augment.shadow.probability": (0.0, 0.5),
        "views": ("none", "fourteen"),
    }


def test_only_the_first_process_writes(workdir, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    workdirs.write_config(workdir, CONFIG)
    workdirs.describe_run(workdir, command="train")
    with workdirs.only_one(workdir):
        assert not workdir.exists()


def test_one_command_at_a_time(workdir):
    with (
        workdirs.only_one(workdir),
        pytest.raises(UserError, match=f"another command is at work in {workdir}"),
        workdirs.only_one(workdir),
    ):
        pass
    with workdirs.only_one(workdir):
        assert workdir.exists()


def test_a_folder_without_a_run_says_how_to_get_one(workdir):
    with pytest.raises(UserError, match=rf"{workdir} holds no run .*config\.json.* train first"):
        workdirs.read_config(workdir)


def test_a_damaged_file_is_named_and_a_missing_one_is_none(workdir):
    workdir.mkdir(parents=True)
    (workdir / "run.json").write_text('{"started": ')
    with pytest.raises(UserError, match=rf"{workdir}/run\.json is damaged .*: delete it"):
        workdirs.read_json(workdir / "run.json")
    assert workdirs.read_json(workdir / "drive.json") is None


def test_a_file_is_whole_or_not_there(workdir):
    workdir.mkdir(parents=True)
    workdirs.write_json(workdir / "a.json", {"value": 1})
    with pytest.raises(TypeError):
        workdirs.write_json(workdir / "a.json", {"value": object()})
    assert workdirs.read_json(workdir / "a.json") == {"value": 1}
    workdirs.write_json(workdir / "a.json", {"value": 2})
    assert [path.name for path in workdir.iterdir()] == ["a.json"]
    assert workdirs.read_json(workdir / "a.json") == {"value": 2}


def test_facts_of_a_run_add_up(workdir, monkeypatch):
    workdirs.describe_run(workdir, command="first")
    first = workdirs.read_json(workdir / workdirs.RUN_FILE)
    workdirs.describe_run(workdir, command="second", parameters=7)
    run = workdirs.read_json(workdir / workdirs.RUN_FILE)
    assert run["started"] == first["started"]
    assert (first["command"], run["command"], run["parameters"]) == ("first", "second", 7)
    assert run["versions"]["jaxdrive"] == jaxdrive.__version__
    assert run["versions"]["jax"] == jax.__version__
    assert run["versions"]["python"] == platform.python_version()
    assert len(run["machine"]["devices"]) == jax.device_count()
    assert run["machine"]["memory_bytes"] > 10**8


def test_wall_times_of_a_stage_add_up_even_when_it_fails(workdir, monkeypatch):
    seconds = iter([10.0, 13.0, 20.0, 24.5, 30.0, 31.0])
    monkeypatch.setattr(workdirs.time, "perf_counter", lambda: next(seconds))
    with workdirs.timed(workdir, "train"):
        pass
    with pytest.raises(KeyboardInterrupt), workdirs.timed(workdir, "train"):
        raise KeyboardInterrupt
    with workdirs.timed(workdir, "drive"):
        pass
    run = workdirs.read_json(workdir / workdirs.RUN_FILE)
    assert run["wall_time_seconds"] == {"train": 7.5, "drive": 1.0}
