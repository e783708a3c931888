"""How a step is spread over devices and processes: the one file that knows.

A step is written for one device under the axis `DATA_AXIS` (see `step.py`); rows of a batch are
divided among the devices in order, and state is the same on all of them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdrive.errors import UserError
from jaxdrive.training.compile_options import compile_options
from jaxdrive.training.step import DATA_AXIS

PARTITIONS = ("shard_map", "pmap")


@dataclasses.dataclass(frozen=True)
class Partition:
    """One way of spreading, as functions over trees of arrays.

    Attributes:
      put_state: A tree of host or device arrays -> the same on every device.
      get_state: The inverse of put_state: arrays that a checkpoint can keep.
      put_batch: This process's rows -> rows divided among the devices.
      get_rows: Rows divided among the devices -> host arrays of all rows, on every process.
      spread_train: step(state, batch) -> (state, metrics) of one device -> of all; the state that
        goes in is given up. `feature_bytes` is the size of what its layers give in one pass.
      spread_measure: measure(state, batch) of one device -> of all: the same numbers on each.
      spread_predict: predict(variables, inputs) -> rows of one device -> of all.
      state_sharding: Where checkpoints restore to.
    """

    put_state: Callable[[Any], Any]
    get_state: Callable[[Any], Any]
    put_batch: Callable[[Any], Any]
    get_rows: Callable[[Any], Any]
    spread_train: Callable[..., Any]
    spread_measure: Callable[..., Any]
    spread_predict: Callable[..., Any]
    state_sharding: jax.sharding.Sharding


def make_partition(name: str) -> Partition:
    """The partition called `name` over all devices.

    Raises:
      UserError: The name is unknown, or pmap is asked for with several processes.
    """
    if name not in PARTITIONS:
        raise UserError(f"config.partition={name!r} is not known: one of {', '.join(PARTITIONS)}")
    if name == "shard_map":
        # Rows are divided among processes by their number, so devices have to stand in that order.
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        return _shard_map(Mesh(np.asarray(devices), (DATA_AXIS,)))
    if jax.process_count() > 1:
        raise UserError(
            f"config.partition='pmap' runs in one process, found {jax.process_count()}:"
            " use --config.partition=shard_map, which gives the same numbers"
        )
    return _pmap(jax.local_devices())


def check_batch_size(batch_size: int, name: str) -> None:
    """Raises UserError unless `batch_size` rows divide evenly among all devices."""
    devices = jax.device_count()
    if batch_size < 1 or batch_size % devices:
        lower = max(batch_size // devices * devices, devices)
        raise UserError(
            f"config.{name}={batch_size} rows cannot be divided evenly among {devices} devices:"
            f" use a multiple of {devices}, such as {lower} or {lower + devices}"
        )


def _shard_map(mesh: Mesh) -> Partition:
    same, divided = NamedSharding(mesh, P()), NamedSharding(mesh, P(DATA_AXIS))

    def put_state(tree: Any) -> Any:
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(same, np.asarray(array)), tree
        )

    def put_batch(tree: Any) -> Any:
        # Not jax.device_put: with several CPU devices its copies can wait for a step that waits for
        # them.
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(divided, array), tree
        )

    def get_rows(tree: Any) -> Any:
        return multihost_utils.process_allgather(tree, tiled=True)

    def spread(
        function: Any, *, out_specs: Any, donate: tuple[int, ...], feature_bytes: int = 0
    ) -> Any:
        # With check_vma the gradient of a replicated parameter would arrive already summed, and
        # the step's own sum would count it once for each device.
        spread_out = jax.shard_map(
            function, mesh=mesh, in_specs=(P(), P(DATA_AXIS)), out_specs=out_specs, check_vma=False
        )
        platform = mesh.devices.flat[0].platform
        options = compile_options(platform, feature_bytes=feature_bytes)
        return jax.jit(spread_out, donate_argnums=donate, compiler_options=options)

    return Partition(
        put_state=put_state,
        get_state=lambda tree: tree,
        put_batch=put_batch,
        get_rows=get_rows,
        spread_train=lambda step, feature_bytes=0: spread(
            step, out_specs=(P(), P()), donate=(0,), feature_bytes=feature_bytes
        ),
        spread_measure=lambda measure: spread(measure, out_specs=P(), donate=()),
        spread_predict=lambda step: spread(step, out_specs=P(DATA_AXIS), donate=()),
        state_sharding=same,
    )


def _pmap(devices: list[jax.Device]) -> Partition:
    count = len(devices)
    mesh = Mesh(np.asarray(devices), (DATA_AXIS,))
    # Checkpoints hold one copy, as under shard_map, so that either reads what the other wrote.
    same = NamedSharding(mesh, P())
    each = NamedSharding(mesh, P(DATA_AXIS))

    def put_state(tree: Any) -> Any:
        def copies(array: Any) -> Any:
            return jax.device_put(np.broadcast_to(array, (count, *np.shape(array))), each)

        return jax.tree.map(copies, tree)

    def put_batch(tree: Any) -> Any:
        return jax.tree.map(lambda array: array.reshape(count, -1, *array.shape[1:]), tree)

    def first(tree: Any) -> Any:
        return jax.tree.map(lambda array: array[0], tree)

    def train(step: Any, feature_bytes: int = 0) -> Any:
        del feature_bytes  # jax.pmap takes no compiler options.
        spread = jax.pmap(step, axis_name=DATA_AXIS, donate_argnums=0)

        def run(state: Any, batch: Any) -> Any:
            state, metrics = spread(state, batch)
            return state, first(metrics)

        return run

    def measure(function: Any) -> Any:
        spread = jax.pmap(function, axis_name=DATA_AXIS)
        return lambda state, batch: first(spread(state, batch))

    return Partition(
        put_state=put_state,
        get_state=lambda tree: jax.device_put(first(jax.device_get(tree)), same),
        put_batch=put_batch,
        get_rows=lambda tree: jax.tree.map(
            lambda array: np.asarray(array).reshape(-1, *array.shape[2:]), tree
        ),
        spread_train=train,
        spread_measure=measure,
        spread_predict=lambda step: jax.pmap(step, axis_name=DATA_AXIS),
        state_sharding=same,
    )
