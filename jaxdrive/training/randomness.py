"""Random numbers of the train step: from the run's seed, the batch, the head and the row alone.

A row is one of the global batch, so that any number of devices, and one pass or several, see the
same. What draws for a row folds a number of its own into that row's key: the changes of
`augment.py` small ones, dropout the one below.
"""

from typing import Any

import jax

# Far from the numbers of any kind of change.
_DROPOUT = 1_000_000


def row_keys(*, seed: int, position: Any, head: int, rows: Any) -> jax.Array:
    """A key for every row.

    Args:
      seed: The run's seed.
      position: The batch's number, an int or int32 scalar.
      head: The place of the head whose batch it is among all heads.
      rows: Rows of the global batch, int32 [b].

    Returns:
      Keys [b].
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), position), head)
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def dropout_keys(*, seed: int, position: Any, head: int, rows: Any) -> jax.Array:
    """The key of what each row drops, [b]; arguments as for `row_keys`."""
    keys = row_keys(seed=seed, position=position, head=head, rows=rows)
    return jax.vmap(lambda key: jax.random.fold_in(key, _DROPOUT))(keys)
