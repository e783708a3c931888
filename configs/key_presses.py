"""x"""

from ml_collections import ConfigDict

from configs import few_laps


def get_config() -> ConfigDict:
    """Four episodes with key presses, and labels that are smoothed before they are learned."""
    config = few_laps.get_config()
    config.data.key_presses = True
    config.heads.steering.smooth_seconds = 0.3
    return config
