"""The one entry point: launch.py VERB --config=FILE [--config.field=value ...] --workdir=DIR.

Verbs:
  prepare   record or read, and write a dataset, unless it is there
  train     everything: prepare, train, evaluate, drive, report; run again, it goes on
  evaluate  score a checkpoint on recorded frames that it never saw
  drive     let a checkpoint drive tracks that it never saw, or the Udacity simulator
  inspect   print and draw a dataset, or what a batch of it gives the train step
  compare   lay the learning curves of several runs over each other and score them alike
  folds     train and evaluate every fold of a recording, each held out in turn, and sum up
  datasets  list what is in the folder of datasets and which runs use it; delete what none uses

Examples:
  python launch.py train --config=configs/quickstart.py --workdir=runs/quickstart
  python launch.py train --config=configs/quickstart.py --config.balance=none --workdir=runs/plain
  python launch.py train --config=configs/quickstart.py --workdir=runs/timed --profile=20:40
  python launch.py evaluate --workdir=runs/quickstart --split=validation
  python launch.py drive --workdir=runs/quickstart --steps=500,1000,3000
  python launch.py drive --workdir=runs/udacity --simulator=udacity --set_speed=15
  python launch.py inspect --config=configs/quickstart.py --batch=100
  python launch.py inspect --workdir=runs/quickstart --verify
  python launch.py compare --workdirs=runs/quickstart,runs/plain
  python launch.py folds --config=configs/udacity.py --config.data.path=DIR --workdir=runs/folds
  python launch.py datasets --unused

The configuration of a run is kept in its workdir, so evaluate, drive and inspect need no --config;
datasets needs neither: its folder is config.data.dir.
Fields stand in configs/default.py. Several processes: --coordinator, --num_processes, --process_id.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> int:
    """Runs the verb of the command line; returns the exit code."""
    from jaxdrive import allocator

    allocator.keep_freed_memory()
    from jaxdrive import command_line
    from jaxdrive.errors import UserError

    try:
        command = command_line.parse(sys.argv, help_text=__doc__)
        return command_line.run(command)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped by Ctrl-C: nothing is lost, the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
