"""What does the expert score that the quickstart learns from?

Command:
  python -m benchmarks.expert --tracks=20 --action_repeat=2
"""

import argparse
import concurrent.futures
import statistics

from jaxdrive.simulators.car_racing import CarRacing
from jaxdrive.simulators.expert import Expert, ExpertSettings


def drive(seed: int, action_repeat: int) -> tuple[float, bool]:
    """(score, whether the lap was finished) of one track."""
    car_racing = CarRacing()
    car_racing.reset(seed)
    expert = Expert(car_racing, ExpertSettings())
    expert.reset()
    while not car_racing.done:
        car_racing.advance(expert(), repeat=action_repeat)
    return car_racing.score, car_racing.finished


def main() -> None:
    """Drives the tracks and prints mean, standard deviation and laps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=20, help="seeds 0, 1, ...")
    parser.add_argument("--action_repeat", type=int, default=2, help="steps an action is held")
    arguments = parser.parse_args()
    with concurrent.futures.ProcessPoolExecutor() as pool:
        repeats = [arguments.action_repeat] * arguments.tracks
        results = list(pool.map(drive, range(arguments.tracks), repeats))
    scores = [score for score, _ in results]
    print(
        f"mean {statistics.mean(scores):.1f} +- {statistics.pstdev(scores):.1f},"
        f" lowest {min(scores):.1f}, {sum(done for _, done in results)} of {len(scores)} laps"
    )


if __name__ == "__main__":
    main()
