"""The table of a network's layers against the network itself."""

import jax
import jax.numpy as jnp
import pytest
from clu import parameter_overview
from flax.traverse_util import flatten_dict

from configs import quickstart, xception
from jaxdrive.models.multihead import BACKBONES, BATCH_NORMALISED, make_model
from jaxdrive.models.overview import overview, table

HEADS = ("brake", "steering")
SHAPE = (72, 75, 3)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_is_in_one_row_and_one_stage(backbone):
    config = xception.get_config().model.to_dict() | {"backbone": backbone}
    config["batch_norm"]["use"] = BATCH_NORMALISED.get(backbone, True)
    model = make_model(config, HEADS, axis_name="data", platform="cpu")
    found = overview(model, image_shape=SHAPE, scalars=["speed"])
    inputs = {"image": jnp.zeros((1, *SHAPE), jnp.uint8), "speed": jnp.zeros(1)}
    variables = jax.eval_shape(
        lambda key, inputs: model.init(key, inputs, train=False), jax.random.key(0), inputs
    )
    for rows in (found["layers"], found["stages"]):
        for collection, column in (("params", "trainable"), ("batch_stats", "statistics")):
            tree = variables.get(collection, {})
            want = parameter_overview.count_parameters(tree)
            assert sum(row[column] for row in rows) == found["total"][column] == want
    sizes = {"/".join(path): leaf.size for path, leaf in flatten_dict(variables["params"]).items()}
    for row in found["layers"]:
        own = [sizes.pop(name) for name in list(sizes) if name.startswith(f"{row['name']}/")]
        assert own
        assert row["trainable"] == sum(own)
    assert not sizes
    assert {row["part"] for row in found["layers"]} == {"backbone", "common", *HEADS}


def test_the_table_says_what_a_layer_is_and_the_totals():
    config = quickstart.get_config().model.to_dict()
    model = make_model(config, HEADS, axis_name="data", platform="cpu", outputs={"brake": 12})
    lines = table(overview(model, image_shape=(42, 48, 3), scalars=["speed"]))
    cells = [" ".join(line.split()) for line in lines]
    assert "backbone/Conv_1 Conv 3x3 11 x 12 x 32 4,640 0" in cells
    assert "steering_output Dense 1 33 0" in cells
    assert "brake_output Dense 12 396 0" in cells
    assert cells[-1] == "total 176,525 0"
    assert len(set(map(len, lines))) == 1
