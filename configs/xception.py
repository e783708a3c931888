r"""Xception on whole CarRacing frames: the published network with the reference's wide heads.

Command:
  python launch.py train --config=configs/xception.py --workdir=runs/xception

Expected, on 2 CPU cores: a quarter of a minute to compile, then 4 to 7 images a second beside other
work, so 200 steps take 12 to 20 minutes, and driving 20 tracks another 5 to 9. They show that
everything runs, and train nothing that drives (a mean score of -5): that takes a GPU or TPU, with
more steps, a larger batch and --config.model.compute_dtype=bfloat16.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default configuration with Xception, whole frames and no scalar inputs."""
    config = default.get_config()
    config.num_steps = 200
    config.batch_size = 8
    # Compiled in half the time of three separate passes.
    config.passes = "one"
    config.log_every = 10
    config.eval_every = 100
    config.checkpoint_every = 50

    # The expert never steers further than 0.4 or brakes harder than 0.8: without the scale most
    # bins would stay empty.
    config.heads.steering.scale = 0.4
    config.heads.brake.scale = 0.8

    # The whole frame at its own size: the dashboard shows the speed.
    config.scalars = ConfigDict()

    config.model.backbone = "xception"
    config.model.batch_norm.use = True
    config.model.common = (1024,)
    config.model.head = (256, 64, 16)
    return config
