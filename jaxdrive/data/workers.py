"""Processes that read recordings: one for every core, none of which outlives its parent."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2

# Processes that start before it is known how much there is to do.
_EARLY = 4


@contextmanager
def worker_pool(preparation: Callable[[], None]) -> Iterator[concurrent.futures.Executor]:
    """A pool whose first processes start already; the others start when there are tasks for them.

    Tasks that are not begun when the block ends are left undone.

    Args:
      preparation: What the first processes do before there are tasks: slow imports, say.
    """
    workers = os.cpu_count() or 1
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start
    )
    try:
        for _ in range(min(workers, _EARLY)):
            pool.submit(preparation)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Leaves Ctrl-C to the parent, and does not outlive it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # There is a process for every core already.
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
