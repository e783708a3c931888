"""X"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default configuration with Xception, whole frames and no scalar inputs."""
    config = default.get_config()
    config.num_steps = 200
    config.log_every = 10
    config.eval_every = 100
    config.checkpoint_every = 100
    config.batch_size = 8
    config.passes = "one"

    # The expert never steers further than 0.4 or brakes harder than 0.8: without the scale most
    # bins would stay empty.
    config.heads.steering.scale = 0.4
    config.heads.brake.scale = 0.8

    # The whole frame, 96x96: its dashboard shows the speed.
    config.scalars = ConfigDict()

    config.model.backbone = "xception"
    config.model.batch_norm.use = True
    config.model.common = (1024,)
    config.model.head = (256, 64, 16)
    return config
