r"""A recording of the Udacity simulator, with the changes of pictures that were published for it.

Command, FILE:VARIANT:
  python launch.py train --config=configs/udacity_augmented.py:popular --config.data.path=DIR \
    --workdir=runs/popular

Variants:
  popular   Cameras alike, shifted far and steered back, in any light, under half shadows, mirrored;
            most frames that go straight on are left out at first, none at the end.
  fourteen  Seven changes of brightness of every frame, each as it is and mirrored: fourteen views,
            every one of which is drawn once before any comes again.

Expected, of 143 s on the lake track: 4 minutes on one core each. On test blocks a balanced steering
skill of 0.41 (popular, which draws frames as recorded; natural 0.00) and of 0.72 (fourteen; as much
as configs/udacity.py:pedals), measured over 240 updates; 3 epochs of this recording are 300.

In the last third of the training these changes grow weaker, to nothing at its end; only `popular`
mirrors to the last. Change the schedules together with --config.num_steps.
"""

from ml_collections import ConfigDict

from configs import udacity


def get_config(variant: str = "popular") -> ConfigDict:
    """configs/udacity.py with other random changes."""
    if variant not in _VARIANTS:
        raise ValueError(f"there is no variant {variant!r}, only {', '.join(_VARIANTS)}")
    config = udacity.get_config("pedals")
    config.augment.shift.sideways = 0
    config.augment.shift.along = 0
    config.augment.brightness.spread = 0.0
    _VARIANTS[variant](config)
    return config


def _popular(config: ConfigDict) -> None:
    config.balance = "none"
    # 75 of 320 columns and 5 of 160 rows; a change of steering of 0.4 / 150 for each column there.
    config.augment.shift.sideways = 47
    config.augment.shift.along = 5
    config.augment.shift.label_per_pixel.steering = 0.0043
    # V times 0.25 to 1.25.
    config.augment.brightness.spread = 0.5
    config.augment.brightness.bias = -0.25
    config.augment.shadow.probability = 0.5
    config.augment.small_angles.probability = 0.9
    config.augment.small_angles.schedule = ((0, 1.0), (f"{udacity.EPOCHS} epochs", 0.0))
    for kind in ("shift", "brightness", "shadow"):
        config.augment[kind].schedule = _fading(udacity.EPOCHS)


def _fourteen(config: ConfigDict) -> None:
    config.views = "fourteen"
    # An epoch is a pass over all views.
    epochs = round(udacity.EPOCHS / 14, 3)
    config.num_steps = f"{epochs} epochs"
    config.eval_every = config.checkpoint_every = f"{round(epochs / 6, 3)} epochs"
    # The views are mirrored themselves.
    config.augment.flip.probability = 0.0
    config.augment.views.schedule = _fading(epochs)


def _fading(epochs: float) -> tuple[tuple[str, float], ...]:
    return ((f"{2 * epochs / 3:.3f} epochs", 1.0), (f"{epochs} epochs", 0.0))


_VARIANTS = {"popular": _popular, "fourteen": _fourteen}
