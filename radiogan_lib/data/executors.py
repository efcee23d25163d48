"""Running one function over many exams on Dask: processes of this machine, or a cluster.

Only a few items are in flight at a time, so memory does not grow with the cohort; results come back
as they are ready; and a worker that dies costs its own item at most, after a second try.
"""

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import NamedTuple

from radiogan_lib import machine
from radiogan_lib.config import ConfigError

KINDS = ("processes", "threads", "sync")
CONNECT_S = 20  # how long to look for a Dask scheduler
IN_FLIGHT = 2  # items per worker: one being worked on, one waiting so that no worker idles


class Died(NamedTuple):
    """In place of a result: the worker process ended twice while on this item."""

    reason: str


def run(
    function: Callable, items: list, scheduler=None, workers: int = 0
) -> Iterator[tuple[int, object]]:
    """Yield `(index, function(items[index]))` in the order in which they finish.

    Args:
        function: importable by name (it travels to other processes); must not raise for a bad exam.
        items: what it is called with, one at a time.
        scheduler: None or "processes" (Dask workers of this machine, one process each), "threads",
            "sync" (here, one after the other), the address of a Dask scheduler such as
            "tcp://10.0.0.5:8786", or a `distributed.Client`.
        workers: processes or threads; 0 = one per core. A cluster elsewhere has its own number.

    Yields:
        The index and the result, or `Died` in its place.

    Raises:
        ConfigError: an unknown scheduler, or one that cannot be reached.
    """
    workers = min(workers or machine.cores(), len(items))
    if hasattr(scheduler, "submit") and hasattr(scheduler, "scheduler_info"):
        yield from _on_dask(function, items, scheduler)
    elif isinstance(scheduler, str) and "://" in scheduler:
        with _client_of(scheduler) as client:
            yield from _on_dask(function, items, client)
    elif scheduler not in (None, "", *KINDS):
        raise ConfigError(
            f"scheduler = {scheduler!r}; choose {', '.join(KINDS)}, or the address of a Dask "
            "scheduler such as tcp://127.0.0.1:8786."
        )
    elif scheduler == "sync" or not items:
        yield from enumerate(map(function, items))
    elif scheduler == "threads":
        yield from _in_threads(function, items, workers)
    else:
        with _local_client(workers) as client:
            yield from _on_dask(function, items, client)


def _in_threads(function, items, workers: int) -> Iterator[tuple[int, object]]:
    waiting, running = deque(enumerate(items)), {}
    with futures.ThreadPoolExecutor(workers) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers * IN_FLIGHT:
                    index, item = waiting.popleft()
                    running[pool.submit(function, item)] = index
                for done in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
                    yield running.pop(done), done.result()
        finally:
            for future in running:
                future.cancel()


@contextlib.contextmanager
def _local_client(workers: int):
    """A client of processes on this machine that end with the block, and with this process."""
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 1,
        # A fork can hang on another thread's lock.
        "distributed.worker.multiprocessing-method": "spawn",
    }
    # Ctrl-C is for this process alone.
    preload = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    with dask.config.set(settings), _without_main():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.CRITICAL + 1,
            preload=[preload],
        )
        over = threading.Event()
        watch = threading.Thread(target=_keep_alive, args=(cluster, workers, over), daemon=True)
        watch.start()
        try:
            with Client(cluster, set_as_default=False) as client:
                yield client
        finally:
            over.set()
            watch.join()
            # Dask cannot join a worker that it is just starting again; all results are in by then.
            with contextlib.suppress(AssertionError):
                cluster.close()


def _keep_alive(cluster, workers: int, over: threading.Event) -> None:
    """Start workers when none is left: Dask gives one up that dies while it is being started."""
    while not over.wait(3):
        if not cluster.scheduler_info["workers"]:
            cluster.scale(workers)


@contextlib.contextmanager
def _without_main():
    """Hide the main script: if it calls `prepare` at its top level, every worker would start it."""
    main = sys.modules["__main__"]
    kept = {k: main.__dict__.pop(k) for k in ("__file__", "__spec__") if k in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        del main.__spec__
        main.__dict__.update(kept)


def _client_of(address: str):
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as e:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({type(e).__name__}); start one with "
            "`dask scheduler` and `dask worker`, or choose processes."
        ) from None


def _on_dask(function, items, client) -> Iterator[tuple[int, object]]:
    """Submit to a cluster. Dask moves the items of a lost worker to another one.

    An item that it gives up on may only have waited beside the culprit, so it is tried again alone.
    """
    try:
        client.wait_for_workers(1, timeout=60)
    except TimeoutError:
        said = "the Dask scheduler has no workers; start some with `dask worker ADDRESS`."
        raise ConfigError(said) from None
    limit, suspects = IN_FLIGHT * max(sum(client.nthreads().values()), 1), []
    for index, result in _through(function, items, client, deque(range(len(items))), limit):
        if isinstance(result, Died):
            suspects.append(index)
        else:
            yield index, result
    for index in suspects:
        yield from _through(function, items, client, deque([index]), 1)


def _through(function, items, client, waiting: deque, limit: int) -> Iterator[tuple[int, object]]:
    """Keep at most `limit` items on the cluster until `waiting` is empty."""
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    index_of: dict[str, int] = {}

    def submit():
        future = client.submit(function, items[waiting[0]], pure=False)
        index_of[future.key] = waiting.popleft()
        return future

    finished = as_completed([submit() for _ in range(min(limit, len(waiting)))], loop=client.loop)
    try:
        for future in finished:
            try:
                result = future.result()
            except KilledWorker:
                result = Died("its worker process ended twice without a result")
            except ImportError as e:
                said = f"the Dask workers cannot import this library ({e})"
                raise ConfigError(f"{said}; install the same version on every worker.") from None
            except futures.CancelledError:
                said = "the Dask cluster was closed during the work"
                raise ConfigError(f"{said}; run again, what is finished is kept.") from None
            index = index_of.pop(future.key)
            if waiting:
                finished.add(submit())
            future.release()
            yield index, result
    finally:
        finished.clear()
