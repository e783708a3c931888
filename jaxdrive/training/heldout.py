"""Predictions for every frame of a split, each exactly once, spread over devices and processes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxdrive.data.loader import Examples, Rows, frame_batches
from jaxdrive.training.parallel import Partition

# Rows of one prediction step on all devices together, before rounding up to the devices.
_BATCH_SIZE = 256


def predict_frames(
    predict: Callable[..., Any],
    partition: Partition,
    variables: tuple[Any, Any],
    examples: Examples,
    ids: np.ndarray,
    *,
    threads: int,
) -> dict[str, np.ndarray]:
    """Predicts targets for the records `ids`.

    Args:
      predict: A prediction step, spread by `partition`.
      partition: How it is spread.
      variables: (params, batch_stats) as `partition.put_state` gives them.
      examples: Makes inputs of record ids.
      ids: int32 [n], n > 0.
      threads: Batches read at once.

    Returns:
      By head name, float32 [n] in the order of `ids`, on every process.
    """
    devices = jax.device_count()
    batch_size = -(-_BATCH_SIZE // devices) * devices
    rows = Rows(jax.process_index(), jax.process_count())
    batches = frame_batches(examples, ids, batch_size=batch_size, rows=rows, threads=threads)
    parts = [
        partition.get_rows(predict(variables, partition.put_batch(inputs))) for inputs in batches
    ]
    return {
        name: np.concatenate([np.asarray(part[name]) for part in parts])[: len(ids)]
        for name in parts[0]
    }
