"""The fourteen views of a picture: seven changes of its brightness, each as it is and mirrored.

They are those of a published trainer, which wrote every view of a recording to disk. Here a view is
a number: which numbers there are stands in `data/views.py`, and the train step makes the pictures
(`training/augment.py`). This file is the table that both go by.
"""

import dataclasses

# What a plan draws: recorded pictures, or their views.
VIEWS = ("none", "fourteen")


@dataclasses.dataclass(frozen=True)
class Transform:
    """One view of a recorded picture.

    Attributes:
      name: In words.
      value: Factor on V of its hue, saturation and value (HSV), which ends at full brightness.
      gamma: Values in 0 to 1 are raised to 1 / gamma.
      mirrored: Whether left and right are swapped.
    """

    name: str
    value: float = 1.0
    gamma: float = 1.0
    mirrored: bool = False


_AS_IS = (
    Transform("original"),
    Transform("V x 0.25", value=0.25),
    Transform("V x 1.25", value=1.25),
    *(Transform(f"gamma {gamma:g}", gamma=gamma) for gamma in (0.5, 1.5, 2.0, 2.5)),
)
_MIRRORED = tuple(
    dataclasses.replace(view, name=f"{view.name}, flipped", mirrored=True) for view in _AS_IS
)
TRANSFORMS = _AS_IS + _MIRRORED
