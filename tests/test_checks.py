"""Values that no run can use are refused before anything is recorded or written."""

import copy
import inspect
import runpy
from pathlib import Path

import pytest

from configs import quickstart, udacity, xception_two_heads
from jaxdrive.checks import check, check_driving, check_serving
from jaxdrive.errors import UserError

VARIANTS = {
    "donkey": ("steering", "pedals"),
    "udacity": ("pilotnet", "pedals", "pilotnet_same", "first_net", "small_inception"),
    "udacity_augmented": ("popular", "fourteen"),
    "tfds": ("toy_drives",),
}


def config_with(name: str, value) -> dict:
    config = copy.deepcopy(quickstart.get_config().to_dict())
    place = config
    *groups, last = name.split(".")
    for group in groups:
        place = place[group]
    assert last in place
    place[last] = value
    return config


def test_the_shipped_configurations_pass():
    files = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))
    assert len(files) > 5
    for file in files:
        get_config = runpy.run_path(str(file))["get_config"]
        check(get_config().to_dict())
        if inspect.signature(get_config).parameters:
            for variant in VARIANTS.get(file.stem, ("udacity",)):
                check(get_config(variant).to_dict())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("num_steps", 0),
        ("batch_size", 0),
        ("log_every", 0),
        ("eval_every", -1),
        ("checkpoint_every", 0),
        ("keep_every", -5),
        ("data.episodes", 0),
        ("data.episodes", 5001),
        ("data.action_repeat", 0),
        ("data.max_steps", 1001),
        ("data.crop_top", -5),
        ("data.height", 0),
        ("data.noise", float("nan")),
        ("data.split.block_seconds", -1.0),
        ("data.split.gap_seconds", float("inf")),
        ("data.split.validation", 1.5),
        ("data.split.test", 0.95),
        ("data.split.folds", 2),
        ("data.split.folds", -1),
        ("data.split.fold", 1),
        ("data.on_bad", "ignore"),
        ("loader.threads", 0),
        ("optim.warmup_steps", -1),
        ("optim.learning_rate", -1e-3),
        ("num_steps", "soon"),
        ("num_steps", 1.5),
        ("num_steps", "0 epochs"),
        ("log_every", "1 day"),
        ("data.fraction", 0.0),
        ("data.fraction", 1.5),
        ("data.frames_per_second", 0.0),
        ("data.frames_per_second", float("nan")),
        ("best_by", "luck"),
        ("best_by", "windowed"),
        ("best_by", "gear:natural"),
        ("best_by", "steering:luck"),
        ("best_by", "throttle:windowed"),
        ("heads.steering.smooth_seconds", -0.1),
        ("heads.steering.smooth_seconds", float("nan")),
        ("init_part", "top"),
        ("optim.momentum", 1.5),
        ("optim.clip_norm", -1.0),
        ("optim.ema", 1.0),
        ("optim.ema", -0.1),
        ("optim.steps", (5,)),
        ("heads.throttle.kind", "ranking"),
        ("heads.throttle.weight", -2.0),
        ("heads.throttle.bins", {"edges": (0.0, 0.5), "atoms": ()}),
        ("augment.flip.probability", 2.0),
        ("augment.shift.sideways", -1),
        ("augment.shift.label_per_pixel", {"stering": 0.1}),
        ("augment.gamma.schedule", ((5, 0.0), (5, 1.0))),
        ("augment.colour_mix.offset", 60.0),
        ("augment.brightness.bias", -1.5),
        ("augment.crop.top", -1),
        ("augment.crop", {"top": 40, "bottom": 28, "schedule": ((0, 1.0), ("1 epoch", 1.5))}),
        ("augment.shadow.probability", 1.5),
        ("augment.hue.spread", 0.6),
        ("augment.blur.sigma", -1.0),
        ("augment.noise.std", float("nan")),
        ("augment.small_angles.below", -0.1),
        (
            "augment.small_angles",
            {"probability": 0.5, "below": 0.1, "head": "wheel", "schedule": ()},
        ),
        ("augment.views.schedule", ((0, -1.0),)),
        ("views", "thirteen"),
        ("native", "on"),
        ("compilation_cache", ""),
        ("compilation_cache", "gs://bucket/compiled"),
        ("drive.tracks", 101),
        ("model.channels", ("a",)),
        ("model.dropout", 1.0),
        ("model.dropout", -0.1),
        ("model.head", (0,)),
        ("data.dir", "gs://bucket/datasets"),
        ("data.path", "gs://bucket/recordings"),
    ],
)
def test_a_value_that_no_run_can_use_is_named(name, value):
    with pytest.raises(UserError, match=rf"config\.{name}"):
        check(config_with(name, value))


def test_what_only_goes_together_is_checked_together():
    with pytest.raises(UserError, match=r"data\.validation_episodes=0 .* config\.eval_every=0"):
        check(config_with("data.validation_episodes", 0))
    with pytest.raises(UserError, match=r"scalars\.gyro: while driving only speed"):
        check(config_with("scalars", {"gyro": 1.0}))
    impatient = config_with("early_stopping.patience", "2 epochs") | {"eval_every": 0}
    with pytest.raises(UserError, match=r"early_stopping\.patience needs .* config\.eval_every"):
        check(impatient)
    check(config_with("data.test_episodes", 0))


def test_a_label_that_a_head_learns_is_no_input():
    told = r"scalars\.steering is what config\.heads\.steering\.label learns: .* Leave it out of"
    config = config_with("scalars", {"speed": 0.01, "steering": 1.0})
    for tracks in (0, 20):
        with pytest.raises(UserError, match=told):
            check(config | {"drive": {"tracks": tracks}})
    renamed = config["heads"] | {"wheel": config["heads"]["steering"]}
    del renamed["steering"]
    augment = config["augment"] | {"shift": config["augment"]["shift"] | {"label_per_pixel": {}}}
    with pytest.raises(UserError, match=r"scalars\.steering is what config\.heads\.wheel\.label"):
        check(config | {"heads": renamed, "augment": augment})


def test_a_recording_needs_held_out_blocks_and_no_episodes_nor_tracks():
    config = udacity.get_config().to_dict()
    check(config | {"data": config["data"] | {"validation_episodes": 0}})
    split = config["data"]["split"] | {"validation": 0.0}
    with pytest.raises(UserError, match=r"data\.split\.validation=0 .* config\.eval_every=0"):
        check(config | {"data": config["data"] | {"split": split}})
    folds = split | {"folds": 5}
    check(config | {"data": config["data"] | {"split": folds | {"fold": 4}}})
    for fold in (-1, 5):
        with pytest.raises(UserError, match=r"fold=-?\d is not a fold: .*folds=5 has folds 0 to 4"):
            check(config | {"data": config["data"] | {"split": folds | {"fold": fold}}})
    driven = quickstart.get_config().to_dict()
    with pytest.raises(UserError, match=r"folds=5: car_racing records episodes for each split"):
        check(driven | {"data": driven["data"] | {"split": folds}})
    with pytest.raises(UserError, match=r"data\.source='udacity' has no simulator .*tracks=0"):
        check(config | {"drive": {"tracks": 3}})
    with pytest.raises(UserError, match=r"data\.source='udacity' has no simulator"):
        check_driving(config)


def test_two_heads_cannot_hold_one_pedal():
    config = xception_two_heads.get_config().to_dict()
    throttle = quickstart.get_config().heads.throttle.to_dict()
    with pytest.raises(
        UserError, match=r"heads\.throttle and config\.heads\.pedals both .* throttle"
    ):
        check(config | {"heads": config["heads"] | {"throttle": throttle}})


def test_an_input_that_a_label_is_made_of_is_refused():
    config = xception_two_heads.get_config().to_dict()
    for scalar in ("throttle", "brake", "pedals"):
        with pytest.raises(UserError, match=rf"scalars\.{scalar} is what config\.heads\.pedals"):
            check(config | {"scalars": {scalar: 1.0}, "drive": {"tracks": 0}})


def test_a_network_drives_the_udacity_simulator_with_what_it_tells():
    config = udacity.get_config("pedals").to_dict()
    for pressing in (quickstart.get_config().to_dict(), config):
        for set_speed in (0.0, 10.0):
            check_serving(pressing, set_speed=set_speed)
    only_steers = udacity.get_config().to_dict()
    check_serving(only_steers, set_speed=10.0)
    with pytest.raises(UserError, match=r"set_speed=0 .* no head for throttle: .*set_speed=10"):
        check_serving(only_steers, set_speed=0.0)
    never_steers = config | {"heads": {"brake": config["heads"]["brake"]}}
    with pytest.raises(UserError, match=r"no head for steering, only for brake"):
        check_serving(never_steers, set_speed=10.0)
    with pytest.raises(UserError, match=r"config\.scalars\.throttle: the simulator tells only spe"):
        check_serving(config | {"scalars": {"throttle": 1.0}}, set_speed=10.0)
