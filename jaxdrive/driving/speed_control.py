"""Keeps a car at a speed: from the speed that it lacks to the throttle that it gets.

A PI controller (proportional and integral). The integral stops growing while the pedals are
pressed all the way (anti-windup: Åström and Hägglund, "PID Controllers", 1995, section 3.5), so
that a car which was held up does not race afterwards.
"""

# Of full throttle, for each mph that is lacking.
_PROPORTIONAL = 0.1
# Of full throttle, for each mph that is lacking for a second.
_INTEGRAL = 0.03
# A longer silence says nothing of how long the speed was lacking.
_LONGEST_SECONDS = 0.5


def control_speed(lacking: float, integral: float, *, seconds: float) -> tuple[float, float]:
    """One step of the controller.

    Args:
      lacking: mph that the car is too slow; negative where it is too fast.
      integral: What the last step returned; 0 for a car that has just come.
      seconds: Since the last step.

    Returns:
      The throttle from -1 to 1, negative to brake; and the integral, from -1 to 1.
    """
    grown = integral + _INTEGRAL * lacking * min(max(seconds, 0.0), _LONGEST_SECONDS)
    wanted = _PROPORTIONAL * lacking + grown
    throttle = min(max(wanted, -1.0), 1.0)
    winding_up = wanted != throttle and wanted * lacking > 0
    return throttle, integral if winding_up else grown
