"""Running one function over many exams on a Dask cluster: a few items in flight, a lost worker costs its own at most."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass

from radiogan_lib.config import ConfigError

CONNECT_S = 20  # how long to look for a Dask scheduler
IN_FLIGHT = 2  # items per worker: one being worked on, one waiting so that no worker idles


@dataclass
class Died:
    """What comes back in place of a result when the worker process ended twice while on this item."""

    reason: str


@contextlib.contextmanager
def client_of(address: str):
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            f"scheduler = {address!r} needs Dask; install it with "
            "`pip install 'radiogan-reproduced[dask]'`."
        ) from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as e:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({type(e).__name__}); start one with "
            "`dask scheduler` and `dask worker`, or choose processes."
        ) from None
    with client:
        yield client


def on_dask(function, items, client) -> Iterator[tuple[int, object]]:
    """Submit to a cluster. Dask moves the items of a lost worker to another one.

    An item that it gives up on may only have waited beside the culprit, so each of those is tried again alone.
    """
    try:
        client.wait_for_workers(1, timeout=60)
    except TimeoutError:
        raise ConfigError(
            "the Dask scheduler has no workers; start some with `dask worker ADDRESS`."
        ) from None
    limit, suspects = IN_FLIGHT * max(sum(client.nthreads().values()), 1), []
    for index, result in _through_dask(function, items, client, deque(range(len(items))), limit):
        if isinstance(result, Died):
            suspects.append(index)
        else:
            yield index, result
    for index in suspects:
        yield from _through_dask(function, items, client, deque([index]), 1)


def _through_dask(
    function, items, client, waiting: deque, limit: int
) -> Iterator[tuple[int, object]]:
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
                result = Died("the Dask workers that tried it ended without a result")
            except ImportError as e:
                raise ConfigError(
                    f"the Dask workers cannot import this library ({e}); install the same version "
                    "on every worker."
                ) from None
            except futures.CancelledError:
                raise ConfigError(
                    "the Dask cluster was closed during the work; run again, what is finished "
                    "is kept."
                ) from None
            index = index_of.pop(future.key)
            if waiting:
                finished.add(submit())
            future.release()
            yield index, result
    finally:
        finished.clear()
