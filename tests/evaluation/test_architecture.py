"""The picture of a network: all of it is there, and readable."""

import io
import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from configs import quickstart, udacity, xception
from jaxdrive.evaluation import plots
from jaxdrive.evaluation.architecture import architecture, architecture_png
from jaxdrive.models.multihead import make_model
from jaxdrive.models.overview import overview


def overview_of(config, heads):
    outputs = {"steering": 21}
    model = make_model(
        config.model.to_dict(), heads, axis_name="data", platform="cpu", outputs=outputs
    )
    shape = (config.data.height, config.data.width, 3)
    return overview(model, image_shape=shape, scalars=sorted(config.scalars))


@pytest.mark.parametrize(
    ("config", "heads", "some"),
    [
        (
            quickstart.get_config(),
            ["brake", "steering", "throttle"],
            {"Conv_1", "11 x 12 x 32", "joined by speed", "Dense 21", "178,935 trainable"},
        ),
        (
            udacity.get_config("small_inception"),
            ["steering", "throttle"],
            {"module2", "4 Conv 1x1 + Conv 5x5 + Conv 3x3", "50% dropped in training"},
        ),
        (
            xception.get_config(),
            ["steering"],
            {"block5 to block12", "8 x 3 SeparableConv 3x3", "6 x 6 x 728"},
        ),
        (
            quickstart.get_config(),
            [f"a_long_name_{number}" for number in range(7)],
            {"a_long_name_6"},
        ),
    ],
)
def test_every_stage_is_drawn_and_no_text_meets_another(config, heads, some):
    found = overview_of(config, heads)
    with plots.style():
        figure = architecture(found)
        FigureCanvasAgg(figure).draw()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    assert some | set(heads) <= {text.get_text() for text in texts}
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1


def test_the_file_is_a_picture():
    found = overview_of(quickstart.get_config(), ["steering"])
    with Image.open(io.BytesIO(architecture_png(found))) as image:
        assert (image.format, image.width) == ("PNG", 1260)
        assert len(image.getcolors(maxcolors=100_000)) > 10
