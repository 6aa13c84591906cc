"""What pickling costs here, next to ``pickle.dumps(obj, 5, buffer_callback=...)``, in one run.

First, what goes out of band here and not there: a trip of each object to another Python process,
which unpickles and drops it and answers None. `pannier.pickling` and `pannier.reducers` say from
which length on they do so: the thresholds should stand where the ratio begins to be below 1. Then
what all others pay for that: pickling alone.

Medians; the two ways take turns of a few trips, so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pickle import PickleBuffer, dumps
from typing import Any

import numpy as np

import pannier
from pannier import reducers
from pannier.pickling import Pickling

SPAWN = multiprocessing.get_context("spawn")
TIMEOUT = 60.0  # seconds that a trip may take
TURNS = 7
KIB = 1024
SIZES = [4 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, KIB**2, 4 * KIB**2, 16 * KIB**2]

Pickled = tuple[bytes, list[PickleBuffer]]


def stock(obj: Any) -> Pickled:
    buffers: list[PickleBuffer] = []
    return dumps(obj, 5, buffer_callback=buffers.append), buffers


class Instance:
    def __init__(self) -> None:
        self.value = 1


def objects(sizes: list[int]) -> Iterator[tuple[str, int, Any]]:
    for size in sizes:
        yield "bytes", size, bytes(size)
    for size in sizes:
        yield "bytearray", size, bytearray(size)
    for size in sizes:
        yield "every other float64", size, np.zeros(size // 4)[::2]
    for size in sizes:
        yield "a column of 8 float64", size, np.zeros((size // 8, 8))[:, 3]
    for size in sizes:
        yield "datetime64", size, np.zeros(size // 8, "datetime64[s]")
    try:
        import torch
    except ImportError:
        return
    for size in sizes:
        yield "torch tensor", size, torch.zeros(size // 4)


def drop(address: str) -> None:
    """The far side."""
    with pannier.connect(address, timeout=TIMEOUT) as connection:
        while True:
            try:
                connection.recv(TIMEOUT)
            except pannier.ConnectionLost:
                return
            connection.send(None)


def compare(ways: list[Callable[[], Any]], repeats: int) -> list[float]:
    """The median seconds of each way."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(TURNS):
        for way, seconds in zip(ways, times):
            way()
            for _ in range(repeats):
                begin = time.perf_counter()
                way()
                seconds.append(time.perf_counter() - begin)
    return [statistics.median(seconds) for seconds in times]


def trips(connection: pannier.Connection, ours: Pickling) -> None:
    print(f"{'a trip of':24}{'KiB':>8}{'stock':>12}{'here':>12}{'ratio':>8}")

    def trip(pickled: Pickled) -> None:
        connection.send_message(pannier.Message(*pickled), timeout=TIMEOUT)
        connection.recv(TIMEOUT)

    for name, size, obj in objects(SIZES):
        repeats = min(100, 3 + 40 * KIB**2 // size)
        there, here = compare([lambda: trip(stock(obj)), lambda: trip(ours(obj))], repeats)
        print(
            f"{name:24}{size // KIB:8}{there * 1e6:9.1f} us{here * 1e6:9.1f} us{here / there:8.2f}",
            flush=True,
        )


def pickling_alone(ours: Pickling) -> None:
    print(f"\n{'pickling of':32}{'stock':>12}{'here':>12}{'ratio':>8}")
    for name, obj, repeats in (
        ("(1, 'a')", (1, "a"), 2000),
        ("an array of 80 KB", np.zeros(10_000), 1000),
        ("100 arrays of 80 KB", [np.zeros(10_000) for _ in range(100)], 50),
        ("10,000 instances", [Instance() for _ in range(10_000)], 5),
        ("100,000 texts", [str(number) for number in range(100_000)], 5),
    ):
        there, here = compare([lambda: stock(obj), lambda: ours(obj)], repeats)
        print(f"{name:32}{there * 1e6:9.2f} us{here * 1e6:9.2f} us{here / there:8.2f}")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    reducers.ARRAY_THRESHOLD = 0  # to see where it should be
    ours = Pickling()
    with tempfile.TemporaryDirectory(prefix="pannier-bench-") as folder:
        with pannier.Listener(f"ipc://{folder}/socket") as listener:
            far = SPAWN.Process(target=drop, args=(listener.address,), daemon=True)
            far.start()
            with listener.accept(TIMEOUT) as connection:
                trips(connection, ours)
            far.join(TIMEOUT)
    pickling_alone(ours)


if __name__ == "__main__":
    main()
