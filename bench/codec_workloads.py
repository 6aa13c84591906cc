"""What bench/codec.py pickles. A module of its own, whose name stands in the streams."""

from __future__ import annotations

import dataclasses
import pickle
import random
from collections.abc import Callable, Iterator

import numpy as np


class Point:
    """A plain class, as most are that are pickled."""

    def __init__(self, x: float, y: float) -> None:
        self.x = x
        self.y = y


@dataclasses.dataclass
class Workload:
    name: str
    what: str
    stream: bytes
    buffers: list[memoryview]
    # What CPython's time must be of ours, at least; None: no target of its own.
    decode: float | None
    typed: float | None = None  # what the decode into values must be of a typed load

    def loads(self) -> object:
        return pickle.loads(self.stream, buffers=self.buffers)

    @property
    def dump(self) -> Callable[[], bytes]:
        obj = self.loads()
        if not self.buffers:
            return lambda: pickle.dumps(obj, 5)
        return lambda: pickle.dumps(obj, 5, buffer_callback=lambda buffer: None)


def json_like(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": number,
            "name": f"user {number}",
            "email": f"user{number}@example.org",
            "score": number * 0.75,
            "active": number % 3 == 0,
            "tags": ["alpha", "beta", f"tag{number % 50}"],
            "address": {"street": f"Street {number}", "city": "Z\u00fcrich", "zip": 8000 + number % 100},
            "parent": None,
        }
        for number in range(count)
    ]


def workloads(scale: float) -> Iterator[Workload]:
    """`scale`: of the sizes; 1 are those of the targets."""
    rng = random.Random(1)
    ten5, ten6 = int(1e5 * scale), int(1e6 * scale)

    def make(name: str, what: str, obj: object, decode: float | None, typed: float | None = None) -> Workload:
        buffers: list[pickle.PickleBuffer] = []
        stream = pickle.dumps(obj, 5, buffer_callback=buffers.append)
        return Workload(name, what, stream, [buffer.raw() for buffer in buffers], decode, typed)

    yield make("json", "dicts as from JSON", json_like(int(4500 * scale)), 2)
    yield make("ints", "list of int", list(range(ten6)), 5, 3)
    yield make("floats", "list of float", [rng.random() for _ in range(ten6)], 5, 3)
    yield make("strings", "list of distinct str", [str(number) for number in range(ten5)], 2)
    yield make("tuples", "list of (int, str)", [(n, str(n)) for n in range(2 * ten5)], 3)
    yield make("pairs", "list of (int, float)", [(n, n / 3) for n in range(2 * ten5)], 3, 3)
    yield make("dict", "dict of str to int", {str(number): number for number in range(ten5)}, 3)
    yield make(
        "records", "dicts of three fields",
        [{"id": n, "score": n / 3, "good": n % 2 == 0} for n in range(ten5)], 3, 3,
    )  # fmt: skip
    yield make("instances", "instances of a class", [Point(n, n / 2) for n in map(float, range(ten5))], None, 3)
    yield make("array", "one array of 800 KB, out of band", np.ones(100_000), None)
    yield make("arrays", "100 arrays of 80 KB, out of band", [np.ones(10_000) for _ in range(100)], None)
    yield make("bytes", "64 MiB of bytes", bytes(int(2**26 * scale)), None)
