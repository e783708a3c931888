"""Sessions that an expert drives in Gymnasium's CarRacing, one a track, recorded on demand.

The expert and the simulator stand in `simulators/`; this file says which tracks are for what.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from jaxdrive.data.frames import Frame, Session

# Raise when the recorder or its expert changes what they record: older datasets are then not
# taken for new ones.
RECORDING_VERSION = 1

LABELS = ("steering", "throttle", "brake", "speed")

# Tracks 0 to 99 are left for driving tests.
_FIRST_SEED = {"train": 1000, "validation": 6000, "test": 7000}


def labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the labels of every frame."""
    return LABELS


def find(config: Mapping[str, Any]) -> dict[str, range]:
    """By split, the seeds of its tracks: `config.data.episodes` for training, those held out."""
    counts = {
        "train": config["episodes"],
        "validation": config["validation_episodes"],
        "test": config["test_episodes"],
    }
    return {
        split: range(_FIRST_SEED[split], _FIRST_SEED[split] + count)
        for split, count in counts.items()
    }


def settings(config: Mapping[str, Any], found: Mapping[str, range]) -> dict[str, Any]:
    """What of `config.data` decides the recorded frames: part of the dataset's fingerprint."""
    names = ("episodes", "validation_episodes", "test_episodes")
    return {name: config[name] for name in names} | _recorded(config)


def _recorded(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of `config.data` decides the frames of a track."""
    decided = {name: config[name] for name in ("noise", "action_repeat", "max_steps")}
    # Named only where they are, so that recordings without keep the name that they had before.
    presses = {"key_presses": True} if config["key_presses"] else {}
    return decided | presses | {"recording_version": RECORDING_VERSION}


def sessions(config: Mapping[str, Any], found: Mapping[str, range]) -> list[Session]:
    """One session a track."""
    return [
        Session(
            name=f"car_racing-{seed}",
            split=split,
            pieces=[
                functools.partial(
                    _read,
                    seed=seed,
                    noise=config["noise"],
                    action_repeat=config["action_repeat"],
                    max_steps=config["max_steps"],
                    key_presses=config["key_presses"],
                )
            ],
            images=_images(config, seed),
        )
        for split, seeds in found.items()
        for seed in seeds
    ]


def _images(config: Mapping[str, Any], seed: int) -> str:
    """What decides the frames of a track: their labels are recorded with the images."""
    return json.dumps(_recorded(config) | {"seed": seed}, sort_keys=True)


def remedy(split: str) -> str:
    """What to do where a dataset of this source has no frames of `split`."""
    return f"raise config.data.{'' if split == 'train' else f'{split}_'}episodes"


def _read(
    *, seed: int, noise: float, action_repeat: int, max_steps: int, key_presses: bool
) -> Iterator[Frame]:
    from jaxdrive.simulators.key_presses import with_key_presses
    from jaxdrive.simulators.recorder import record_episode

    episode = record_episode(
        seed=seed, noise=noise, action_repeat=action_repeat, max_steps=max_steps
    )
    if key_presses:
        episode = with_key_presses(episode, action_repeat=action_repeat)
    for index, snapshot in enumerate(episode):
        yield Frame(
            image=snapshot.image,
            labels={**snapshot.controls, "speed": snapshot.speed},
            time=snapshot.time,
            camera="center",
            origin=f"CarRacing track {seed}, frame {index}",
        )
