"""Every kind of file that Keras saves gives the same weights; other networks' are refused."""

import h5py
import jax
import numpy as np
import pytest
from etils import epath

keras = pytest.importorskip("keras", reason="Keras is not installed: pip install -e '.[parity]'")

from configs import xception as configuration
from jaxdrive.errors import UserError
from jaxdrive.models import weights
from jaxdrive.models.multihead import make_model
from jaxdrive.training.initial import read_initial, with_initial
from jaxdrive.training.parts import make_network
from tests.parity.reference import computing_in, published_xception

HEADS = ("brake", "steering")


@pytest.fixture(scope="module")
def models():
    """Xception alone, with the classifier, and as part of a whole network, in both ways."""
    with computing_in("float32"):
        xception = published_xception()
        return {
            "alone": xception,
            "classifier": extended(xception, nested=False, classifier=True),
            "flat": extended(xception, nested=False, classifier=False),
            "nested": extended(xception, nested=True, classifier=False),
        }


def extended(xception, *, nested, classifier):
    """A model with Xception as one layer, or with its layers, and dense ones on top."""
    pictures = keras.Input((71, 71, 3)) if nested else xception.input
    x = keras.layers.Dropout(0.1)(xception(pictures) if nested else xception.output)
    if classifier:
        return keras.Model(pictures, keras.layers.Dense(5, name="predictions")(x))
    x = keras.layers.Dense(4, name="common_0")(x)
    outputs = [keras.layers.Dense(1, name=f"{head}_output")(x) for head in HEADS]
    model = keras.Model(pictures, outputs)
    model.compile("adam", loss=["mse", "mse"])
    return model


def save(model, folder, kind):
    """Saves a model; a kind is a word or two and how the file's name ends."""
    path = folder / f"model{kind.split()[-1]}"
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    if kind == "nameless .weights.h5":
        # As versions of Keras before 3.6 wrote it.
        with h5py.File(path, "r+") as file:
            file.visititems(lambda _, item: item.attrs.clear())
    if kind == "weights alone .h5":
        # As keras.applications ships it.
        alone = path.with_name("alone.h5")
        with h5py.File(path) as whole, h5py.File(alone, "w") as file:
            for name in whole["model_weights"]:
                whole["model_weights"].copy(name, file)
            file.attrs.update(whole["model_weights"].attrs)
        path = alone.replace(path)
    return epath.Path(path)


def read(model, folder, kind):
    path = save(model, folder, kind)
    found = weights.read_keras(path)
    # They are large.
    path.unlink()
    return found


@pytest.fixture(scope="module")
def backbone(models, tmp_path_factory):
    """What `test_backbone.py` shows to compute the same."""
    return read(models["alone"], tmp_path_factory.mktemp("backbone"), ".weights.h5")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize(
    ("which", "kind"),
    [
        ("alone", "nameless .weights.h5"),
        ("alone", ".keras"),
        ("alone", ".h5"),
        ("alone", "weights alone .h5"),
        ("classifier", ".weights.h5"),
        ("classifier", "weights alone .h5"),
        ("flat", ".keras"),
        ("flat", ".h5"),
        ("nested", ".weights.h5"),
        ("nested", "nameless .weights.h5"),
        ("nested", ".keras"),
        ("nested", ".h5"),
    ],
)
def test_every_kind_of_file_gives_the_same_weights(models, backbone, which, kind, tmp_path):
    expected = dict(backbone)
    dense = [layer for layer in models[which].layers if isinstance(layer, keras.layers.Dense)]
    for number, layer in enumerate(dense):
        name = layer.name
        if kind.startswith("nameless"):
            name = f"dense_{number}" if number else "dense"
        expected |= {f"{name}/{w.name}": np.asarray(w.value) for w in layer.weights}
    found = read(models[which], tmp_path, kind)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def shapes_of_ours(heads):
    config = configuration.get_config().model.to_dict() | {"common": (4,), "head": ()}
    model = make_model(config, heads, axis_name="data", platform="cpu")
    inputs = {"image": jax.ShapeDtypeStruct((1, 71, 71, 3), np.uint8)}
    variables = jax.eval_shape(
        lambda key, x: model.init(key, x, train=False), jax.random.key(0), inputs
    )
    found = weights.names_of(variables["params"], variables["batch_stats"])
    return {name: leaf.shape for name, leaf in found.items()}


def test_what_is_loaded_left_and_skipped(models, backbone, tmp_path):
    ours = shapes_of_ours([*HEADS, "throttle"])
    assert {n for n in ours if n.startswith("backbone/")} == backbone.keys()
    whole = read(models["flat"], tmp_path, ".weights.h5")
    chosen = weights.choose(whole, ours, part="all", where="a file")
    assert chosen.loaded.keys() == whole.keys()
    assert chosen.left.keys() == {"throttle_output/kernel", "throttle_output/bias"}
    assert not chosen.skipped
    chosen = weights.choose(whole, ours, part="backbone", where="a file")
    assert chosen.loaded.keys() == backbone.keys()
    assert chosen.skipped.keys() == whole.keys() - backbone.keys()
    classifier = read(models["classifier"], tmp_path, ".weights.h5")
    for part in ("backbone", "all"):
        chosen = weights.choose(classifier, ours, part=part, where="a file")
        assert chosen.loaded.keys() == backbone.keys()
        assert chosen.skipped == {"predictions/kernel": (2048, 5), "predictions/bias": (5,)}
        assert weights.describe(chosen) == [
            "Weights from a file:",
            "  loaded: backbone (234 arrays, 20,861,480 numbers)",
            "  left as drawn at random: brake_output, common_0, steering_output, throttle_output"
            " (8 arrays, 8,211 numbers)",
            "  skipped: predictions (2 arrays, 10,245 numbers)",
        ]


def test_a_run_starts_from_a_file(models, backbone, tmp_path):
    path = save(models["alone"], tmp_path, ".keras")
    config = configuration.get_config().to_dict() | {"init_from": str(path)}
    network = make_network(config, (71, 71, 3))
    fresh = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), network.template)
    state = with_initial(fresh, read_initial(config, network))
    path.unlink()
    for name, array in weights.names_of(state.params, state.batch_stats).items():
        np.testing.assert_array_equal(array, backbone.get(name, np.ones_like(array)))


def test_other_architectures_are_refused(models, tmp_path):
    with computing_in("float32"):
        layers = [keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
        small = keras.Sequential([keras.Input((9, 9, 3)), *layers])
    found, ours = read(small, tmp_path, ".keras"), shapes_of_ours(HEADS)
    kernel = next(name for name in found if name.startswith("backbone/conv2d"))
    with pytest.raises(UserError) as refused:
        weights.choose(found, ours, part="backbone", where="small.keras")
    told = str(refused.value)
    assert "small.keras are of another network" in told
    assert f"there, without a place here: 2\n    {kernel} [3, 3, 3, 4]" in told
    assert "here, not found there: 234\n    backbone/" in told
    assert "and 214 more" in told

    path = save(models["alone"], tmp_path, ".weights.h5")
    with h5py.File(path, "r+") as file:
        last = file["layers/separable_conv2d_33/vars"]
        del last["1"]
        last["1"] = np.zeros((1, 1, 1536, 1000), np.float32)
    with pytest.raises(UserError) as refused:
        weights.choose(weights.read_keras(path), ours, part="backbone", where="narrow.h5")
    assert (
        "  there, without a place here: 1\n"
        "    backbone/block14/sepconv2/pointwise/kernel [1, 1, 1536, 1000]\n"
        "  here, not found there: 1\n"
        "    backbone/block14/sepconv2/pointwise/kernel [1, 1, 1536, 2048]\n"
    ) in str(refused.value)
    with h5py.File(path, "r+") as file:
        file["layers/conv2d/vars/0"][0, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match=r"weights that are not finite, in layer block1_conv1"):
        weights.read_keras(path)
    path.unlink()


def test_damaged_files_are_refused(models, tmp_path):
    for kind in (".keras", ".weights.h5"):
        path = save(models["alone"], tmp_path, kind)
        whole = path.read_bytes()
        for length in (0, 1000, len(whole) // 2, len(whole) - 1000):
            path.write_bytes(whole[:length])
            with pytest.raises(UserError, match=r"cannot be read as weights that Keras saved"):
                weights.read_keras(path)
        path.unlink()
