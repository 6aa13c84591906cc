"""Runs a way over the frames: checks every result, takes the times."""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from frames import Frame
from ways import IN_FLIGHT, WORKERS, Caller, Way

ALONE = 5  # frames of each kernel that are sent with nothing else under way


@dataclasses.dataclass
class Outcome:
    """What a way did."""

    way: str
    frames: int = 0  # those that were timed
    crossed: int = 0  # bytes of their pixels, to the workers and back
    seconds: float = 0.0
    kernel_seconds: float = 0.0  # of processor time in the kernels, sum over the workers
    outside: float = 0.0  # seconds of a call outside of its kernel, the frame alone; median
    copied: int | None = None  # bytes of pixels, from the first call on; None: nobody counts
    why_copied: str = ""
    leases: int | None = None
    wrong: list[str] = dataclasses.field(default_factory=list)


def check(way: Way, frame: Frame, result: np.ndarray, outcome: Outcome) -> None:
    wrong = frame.difference(result)
    if wrong:
        outcome.wrong.append(f"{way.name}: {frame.kernel} of {frame.name} {wrong}")


def warm_up(way: Way, frames: Sequence[Frame], callers: Sequence[Caller], outcome: Outcome) -> None:
    """A call of each kernel by each caller; then some by the first, timed."""
    kernels = {frame.kernel: frame for frame in frames}.values()
    outside = []
    for caller in callers:
        for frame in kernels:
            check(way, frame, caller(frame)[0], outcome)
    for frame in kernels:
        for _ in range(ALONE):
            start = time.perf_counter()
            result, in_kernel = callers[0](frame)
            outside.append(time.perf_counter() - start - in_kernel)
            check(way, frame, result, outcome)
            del result  # goes home before the next call, as it would in a pipeline
    outcome.outside = statistics.median(outside)


def measure(
    way: Way, frames: Sequence[Frame], count: int, advance: Callable[[], None]
) -> tuple[Outcome, dict[str, np.ndarray]]:
    """Sends `count` frames in turn, IN_FLIGHT to each worker at a time, and compares every result.

    Returns with the outcome a copy of one result of each frame. `advance` is called for each
    frame, under a lock.
    """
    outcome = Outcome(way.name)
    pictures: dict[str, np.ndarray] = {}
    callers = [way.caller(thread) for thread in range(WORKERS * IN_FLIGHT)]
    warm_up(way, frames, callers, outcome)

    lock = threading.Lock()
    order = iter([frames[i % len(frames)] for i in range(count)])
    failed = threading.Event()

    def work(caller: Caller) -> None:
        try:
            while not failed.is_set():
                with lock:
                    frame = next(order, None)
                if frame is None:
                    return
                result, in_kernel = caller(frame)
                check(way, frame, result, outcome)
                with lock:
                    outcome.frames += 1
                    outcome.crossed += frame.pixels.nbytes + result.nbytes
                    outcome.kernel_seconds += in_kernel
                    if frame.name not in pictures:
                        pictures[frame.name] = result.copy()
                    advance()
        except BaseException:
            failed.set()
            raise

    start = time.perf_counter()
    with ThreadPoolExecutor(len(callers)) as threads:
        runs = [threads.submit(work, caller) for caller in callers]
        try:
            for done in runs:
                done.result()
        finally:
            failed.set()  # an interrupt here ends the threads too
    outcome.seconds = time.perf_counter() - start
    counts = way.counts()
    outcome.copied, outcome.why_copied = counts.copied, counts.why
    outcome.leases = counts.leases
    return outcome, pictures
