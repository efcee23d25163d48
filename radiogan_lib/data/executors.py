"""Running one function over many exams: here, in threads, in processes, or on a Dask cluster.

Whatever the scheduler, only a few items are in flight at a time, so memory does not grow with the cohort; results
come back as they are ready; and a worker that dies costs its own exam at most, after a second try.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

from radiogan_lib import machine
from radiogan_lib.config import ConfigError
from radiogan_lib.data.executors_dask import IN_FLIGHT, Died, client_of, on_dask

__all__ = ["IN_FLIGHT", "Died", "run"]

KINDS = ("processes", "threads", "sync")


def run(
    function: Callable, items: list, scheduler=None, workers: int = 0
) -> Iterator[tuple[int, object]]:
    """Yield `(index, function(items[index]))` in the order in which they finish.

    Args:
        function: importable by name from a module (it travels to other processes); must not raise for a bad exam.
        items: what it is called with, one at a time.
        scheduler: None or "processes", "threads", "sync" (here, one after the other), the address of a Dask scheduler
            such as "tcp://10.0.0.5:8786", or a `distributed.Client`.
        workers: processes or threads; 0 = one per core. A Dask cluster has its own number.

    Yields:
        The index and the result, or `Died` in its place.

    Raises:
        ConfigError: an unknown scheduler, or one that cannot be reached.
    """
    workers = min(workers or machine.cores(), max(len(items), 1))
    if scheduler in (None, "", "processes"):
        yield from _in_processes(function, items, workers)
    elif scheduler == "threads":
        with futures.ThreadPoolExecutor(workers) as pool:
            yield from _bounded(
                pool, function, items, deque(range(len(items))), workers * IN_FLIGHT
            )
    elif scheduler == "sync":
        yield from ((i, function(item)) for i, item in enumerate(items))
    elif hasattr(scheduler, "submit") and hasattr(scheduler, "scheduler_info"):
        yield from on_dask(function, items, scheduler)
    elif isinstance(scheduler, str) and "://" in scheduler:
        with client_of(scheduler) as client:
            yield from on_dask(function, items, client)
    else:
        raise ConfigError(
            f"scheduler = {scheduler!r}; choose {', '.join(KINDS)}, or the address of a Dask scheduler "
            "such as tcp://127.0.0.1:8786."
        )


def _bounded(
    pool: futures.Executor, function, items, waiting: deque, limit: int
) -> Iterator[tuple[int, object]]:
    """Keep at most `limit` items in the pool until `waiting` is empty."""
    running: dict[futures.Future, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                running[pool.submit(function, items[waiting[0]])] = waiting[0]
                waiting.popleft()  # only now: had the pool been broken, the item would still be waiting
            for done in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
                result = done.result()
                yield running.pop(done), result
    except BrokenProcessPool:
        raise _Broken(sorted(running.values())) from None
    finally:
        for future in running:
            future.cancel()


class _Broken(Exception):
    """The pool lost a worker; holds the indices that were in it."""


class _Pool(futures.ProcessPoolExecutor):
    """Fresh processes that do not import the user's script.

    A fresh interpreter imports the main script so that functions defined there can be found. Ours never are, and a
    script that calls `prepare` at its top level would start itself again in every worker.
    """

    _starting = threading.Lock()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # All workers start at once. Python would otherwise start them one by one from `submit`; one that starts while the
        # pool is breaking is never told to end, and the pool waits for it for ever (seen once in several runs, Python 3.11).
        self._safe_to_dynamically_spawn_children = False

    def submit(self, *args):
        main = sys.modules["__main__"]
        with self._starting:
            kept = {
                name: main.__dict__.pop(name)
                for name in ("__file__", "__spec__")
                if name in main.__dict__
            }
            main.__spec__ = None
            try:
                return super().submit(*args)  # the first call starts the processes
            finally:
                del main.__spec__
                main.__dict__.update(kept)

    def close(self) -> None:
        self.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """In every new worker: end with the process that started it, and leave Ctrl-C to that one.

    A pool's worker otherwise waits for ever when its parent is killed outright.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _in_processes(function, items, workers: int) -> Iterator[tuple[int, object]]:
    """A pool of fresh processes. When one dies the pool is replaced and its items are tried again one by one.

    Alone in the pool, an item that kills its process twice is known to be the culprit and comes back as `Died`. Once is
    not enough: an item that had only waited beside the culprit would get no second try.
    """
    # never fork: threads of TensorFlow, BLAS or Jupyter that hold a lock at that moment would hang the child
    context = multiprocessing.get_context("spawn")
    waiting, suspects, warned = deque(range(len(items))), deque(), set()
    while waiting or suspects:
        with contextlib.closing(
            _Pool(workers, mp_context=context, initializer=_begin_worker)
        ) as pool:
            try:
                while suspects:
                    index = suspects[0]
                    yield from _bounded(pool, function, items, deque([index]), 1)
                    suspects.popleft()
                yield from _bounded(pool, function, items, waiting, workers * IN_FLIGHT)
            except _Broken as lost:
                if suspects and suspects[0] not in warned:
                    warned.add(suspects[0])
                elif suspects:
                    yield (
                        suspects.popleft(),
                        Died("its worker process ended twice without a result"),
                    )
                else:
                    suspects.extend(lost.args[0])
