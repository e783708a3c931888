"""A checkpoint as a part of a Donkeycar: pictures in, steering and throttle out.

In the car's manage.py:

    from jaxdrive.driving.donkey import Pilot

    pilot = Pilot("runs/donkey", throttle=0.3)
    V.add(pilot, inputs=["cam/image_array"], outputs=["pilot/angle", "pilot/throttle"],
          run_condition="run_pilot")

Parts: https://docs.donkeycar.com/parts/about/.
"""

import os
from typing import Any

import numpy as np
from etils import epath

from jaxdrive import workdir as workdirs
from jaxdrive.driving.policy import load_policy
from jaxdrive.errors import UserError
from jaxdrive.heads import control_names


class Pilot:
    """A Donkeycar part that drives.

    Attributes:
      step: Updates that the network was trained for.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        step: int | None = None,
        throttle: float | None = None,
    ) -> None:
        """Loads a checkpoint and compiles its network, so that the first picture does not wait.

        Args:
          workdir: Folder of the run.
          step: Which checkpoint; None = the best.
          throttle: To give all the time, -1 to 1, where the network has no head for it; a network
            that has one decides itself.

        Raises:
          UserError: There is no such checkpoint, or its network cannot drive a Donkeycar.
        """
        folder = epath.Path(os.path.abspath(workdir))
        config = workdirs.read_config(folder)
        self._policy = load_policy(config, folder, step)
        self.step = self._policy.step
        told = [name for head in self._policy.heads.values() for name in control_names(head)]
        if "steering" not in told:
            raise UserError(
                f"the network in {folder} does not steer: it has heads for {', '.join(told)}"
            )
        pedals = {"throttle", "brake"} & set(told)
        if not pedals and throttle is None:
            raise UserError(
                f"the network in {folder} only steers: say how fast the car is to go, such as"
                " Pilot(..., throttle=0.3), or train configs/donkey.py:pedals"
            )
        if throttle is not None and not -1 <= throttle <= 1:
            raise UserError(f"throttle has to be from -1 to 1, found {throttle}")
        self._throttle = None if pedals else throttle
        if self._policy.scalars:
            raise UserError(
                f"the network in {folder} needs {', '.join(self._policy.scalars)} beside the"
                " picture, which a Donkeycar does not give: train with config.scalars empty, as"
                " configs/donkey.py does"
            )
        fit = self._policy.fit
        self.run(np.zeros((fit.crop_top + fit.height + fit.crop_bottom, fit.width, 3), np.uint8))

    def run(self, image_array: np.ndarray | None, *_: Any) -> tuple[float, float]:
        """What to do for a picture.

        Args:
          image_array: uint8 [H, W, 3], RGB, as the camera gave it in the recordings; None where the
            camera has none yet, for which the car stands still.

        Returns:
          (angle, throttle), both in -1 to 1: left is negative, so is braking or going backwards.
        """
        if image_array is None:
            return 0.0, 0.0
        told = self._policy([image_array], {}, rows=1)
        if self._throttle is not None:
            return float(told["steering"][0]), self._throttle
        throttle = sum(
            factor * float(told[name][0])
            for name, factor in (("throttle", 1.0), ("brake", -1.0))
            if name in told
        )
        return float(told["steering"][0]), float(throttle)

    def shutdown(self) -> None:
        """Lets go of the network, as the car calls when it stops."""
        del self._policy
