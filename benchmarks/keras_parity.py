"""Does Xception compute what keras.applications computes, at the sizes of real frames?

Both have the same random weights and statistics and see the same two pictures, in inference and in
training mode; prints the largest differences of the pooled features and of the moving averages.
The tests do the same with small pictures. Needs the extra `parity`.

Command:
  python -m benchmarks.keras_parity
"""

import argparse
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

# Before anything imports Keras.
os.environ["KERAS_BACKEND"] = "jax"

import jax

from jaxdrive import workdir
from tests.parity.reference import compare, computing_in, our_xception, published_xception

# The published network's size, and the reference trainer's.
SIZES = ("299x299", "270x480")


def main() -> None:
    """Compares and prints a table, and a line of JSON for `benchmarks/results/`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="height x width, such as 299x299")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{'dtype':9} {'size':9} {'what':22} {'largest':>8} {'absolute':>9} {'relative':>9}")
    for dtype in ("float32", "float64"):
        with computing_in(dtype), tempfile.TemporaryDirectory() as folder:
            model = published_xception()
            for size in arguments.sizes:
                height, width = map(int, size.split("x"))
                found = compare(model, our_xception(), Path(folder), height=height, width=width)
                for row in found:
                    rows.append({"dtype": dtype, "size": size} | row)
                    print(
                        f"{dtype:9} {size:9} {row['what']:22} {row['largest']:8.3f}"
                        f" {row['absolute']:9.1e} {row['relative']:9.1e}"
                    )
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {jax.device_count()} devices",
        "device": jax.devices()[0].device_kind,
        "versions": workdir.versions() | {"keras": importlib.metadata.version("keras")},
        "differences": rows,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
