"""The whole network: backbone, common part, and a column of layers for every head.

What an input or a head means is left to `heads.py` and the loader: here are only arrays by name.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdrive.errors import UserError
from jaxdrive.models.dropout import dropout
from jaxdrive.models.first_net import FirstNet
from jaxdrive.models.formulations import Platform
from jaxdrive.models.layers import BatchNorm
from jaxdrive.models.pilotnet import PilotNet, PilotNetSame
from jaxdrive.models.small import SmallNet
from jaxdrive.models.small_inception import SmallInception
from jaxdrive.models.xception import Xception

# float32 stands for the parameters' own dtype, which only tests change.
COMPUTE_DTYPES = ("float32", "bfloat16")

DENSE_INITS = {
    "lecun_normal": nn.initializers.lecun_normal(),
    "glorot_uniform": nn.initializers.glorot_uniform(),
    "he_normal": nn.initializers.he_normal(),
}


class MultiHead(nn.Module):
    """A backbone whose features, joined by scalar inputs, feed a common part and then each head.

    Attributes:
      backbone: Maps (pictures, train, groups) to features [n, F]; computes in the dtype of the
        pictures, whatever that of its parameters is.
      common: Widths of the common dense layers.
      heads: By head name, the widths of its dense layers before the linear output.
      outputs: By head name, how many numbers it gives; one where it is not named.
      compute_dtype: One of `COMPUTE_DTYPES`, what the backbone computes in.
      dense_init: One of `DENSE_INITS`, what the first kernels of dense layers are drawn from.
      dropout: The share of the backbone's features that training drops; 0 = none.
    """

    backbone: nn.Module
    common: Sequence[int]
    heads: Mapping[str, Sequence[int]]
    outputs: Mapping[str, int] = dataclasses.field(default_factory=dict)
    compute_dtype: str = "float32"
    dense_init: str = "lecun_normal"
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        inputs: Mapping[str, jax.Array],
        *,
        train: bool,
        groups: int = 1,
        rows: Mapping[str, slice] | None = None,
        dropout_keys: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """Computes the outputs of the heads; what they mean stands in `training/losses.py`.

        Args:
          inputs: "image" uint8 [n, H, W, 3]; every other entry is a scalar input [n].
          train: Whether batch normalisation uses and updates the statistics of this batch.
          groups: Number of equal sub-batches with statistics of their own.
          rows: By head name, the rows that this head sees; heads that are not named are left out.
            None lets every head see every row.
          dropout_keys: Random keys [n], one a row, of what `dropout` drops; None drops nothing.

        Returns:
          By head name, [rows seen], or [rows seen, outputs] where the head has several.
        """
        dtype = self._parameter_dtype()
        image = inputs["image"].astype(dtype) / jnp.asarray(127.5, dtype) - jnp.asarray(1, dtype)
        if self.compute_dtype != "float32":
            image = image.astype(self.compute_dtype)
        # Few numbers from here on: bfloat16 would cost accuracy and save nothing.
        features = self.backbone(image, train=train, groups=groups).astype(dtype)
        if dropout_keys is not None:
            features = dropout(features, dropout_keys, rate=self.dropout)
        scalars = [
            inputs[name][:, None].astype(dtype) for name in sorted(inputs) if name != "image"
        ]
        x = jnp.concatenate([features, *scalars], axis=1)
        for index, width in enumerate(self.common):
            x = nn.relu(self._dense(width, name=f"common_{index}")(x))
        return {
            name: self._head(name, x if rows is None else x[rows[name]])
            for name in self.heads
            if rows is None or name in rows
        }

    def _head(self, name: str, x: jax.Array) -> jax.Array:
        for index, width in enumerate(self.heads[name]):
            x = nn.relu(self._dense(width, name=f"{name}_{index}")(x))
        outputs = self._dense(self.outputs.get(name, 1), name=f"{name}_output")(x)
        return outputs if outputs.shape[1] > 1 else outputs[:, 0]

    def _dense(self, width: int, *, name: str) -> nn.Dense:
        return nn.Dense(width, kernel_init=DENSE_INITS[self.dense_init], name=name)

    def _parameter_dtype(self) -> Any:
        """float32, or float64 where the parameters were cast to it: pictures follow them."""
        leaves = jax.tree.leaves(self.variables.get("params", {}))
        return leaves[0].dtype if leaves else jnp.float32


def make_model(
    config: Mapping[str, Any],
    heads: Sequence[str],
    *,
    axis_name: str,
    platform: str,
    native: bool = False,
    outputs: Mapping[str, int] | None = None,
) -> MultiHead:
    """The network of `config.model`.

    Args:
      config: `config.model`.
      heads: Names of the heads.
      axis_name: The device axis over which batch statistics are averaged.
      platform: Where it is computed, as JAX names it: "cpu", "gpu", "tpu". It decides how, not
        what: see `formulations.py`.
      native: Whether the native convolutions compute what they can; they have to be loaded.
      outputs: By head name, how many numbers it gives; one where it is not named.

    Raises:
      UserError: The backbone, the dtype or the initialisation is unknown, or the backbone does not
        go with or without batch normalisation.
    """
    known = {"backbone": BACKBONES, "compute_dtype": COMPUTE_DTYPES, "dense_init": DENSE_INITS}
    for field, names in known.items():
        if config[field] not in names:
            raise UserError(
                f"config.model.{field}={config[field]!r} is not known: one of {', '.join(names)}"
            )
    _check_batch_norm(config)
    batch_norm, where = _batch_norm(config, axis_name), Platform(platform, native)
    return MultiHead(
        backbone=BACKBONES[config["backbone"]](config, batch_norm, where),
        common=tuple(config["common"]),
        heads={name: tuple(config["head"]) for name in heads},
        outputs=outputs or {},
        compute_dtype=config["compute_dtype"],
        dense_init=config["dense_init"],
        dropout=config["dropout"],
    )


def _check_batch_norm(config: Mapping[str, Any]) -> None:
    backbone, use = config["backbone"], config["batch_norm"]["use"]
    needed = BATCH_NORMALISED.get(backbone, use)
    if use != needed:
        raise UserError(
            f"config.model.batch_norm.use={use}: {backbone} {'always' if needed else 'never'} has"
            f" batch normalisation, so set it to {needed}"
        )


def _batch_norm(config: Mapping[str, Any], axis_name: str) -> Callable[..., BatchNorm]:
    settings = config["batch_norm"]
    return functools.partial(
        BatchNorm,
        momentum=settings["momentum"],
        epsilon=settings["epsilon"],
        axis_name=axis_name if settings["sync"] else None,
    )


# Whether a backbone has batch normalisation; those that are not named do as the configuration says.
BATCH_NORMALISED = {
    "pilotnet": False,
    "pilotnet_same": True,
    "first_net": False,
    "small_inception": True,
    "xception": True,
}


def _small(
    config: Mapping[str, Any], batch_norm: Callable[..., BatchNorm], platform: Platform
) -> nn.Module:
    return SmallNet(
        channels=tuple(config["channels"]),
        batch_norm=batch_norm if config["batch_norm"]["use"] else None,
        platform=platform,
        parent=None,
    )


_MakeBackbone = Callable[[Mapping[str, Any], Callable[..., BatchNorm], Platform], nn.Module]
# By name, what makes a backbone of `config.model`, of what makes its batch normalisation and of the
# platform.
BACKBONES: dict[str, _MakeBackbone] = {
    "small": _small,
    "pilotnet": lambda config, batch_norm, platform: PilotNet(platform, parent=None),
    "pilotnet_same": lambda config, batch_norm, platform: PilotNetSame(
        batch_norm, platform, parent=None
    ),
    "first_net": lambda config, batch_norm, platform: FirstNet(platform, parent=None),
    "small_inception": lambda config, batch_norm, platform: SmallInception(
        batch_norm, platform, parent=None
    ),
    "xception": lambda config, batch_norm, platform: Xception(batch_norm, platform, parent=None),
}
