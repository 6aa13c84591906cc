"""Calls to worker processes: pannier.Executor and ProcessPoolExecutor, in one run.

Prints medians with the fastest and the slowest of all trips. The rows of a group take turns of a
few trips each, so that what else the machine does falls on all alike. `--json` prints all times
instead.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor

import numpy as np

from report import MIB, Ratio, Row, arguments, machine, ratio, report, time_rows

IN_FLIGHT = 1000


def make(size: int) -> np.ndarray:
    """What a worker returns: from pannier.empty, as a program that cares for speed does it."""
    import pannier

    array = pannier.empty(size * MIB // 8)
    array.fill(1.0)
    return array


def make_plain(size: int) -> np.ndarray:
    return np.ones(size * MIB // 8)


def one(executor: Executor) -> Callable[[], object]:
    return lambda: executor.submit(abs, -1).result()


def many(executor: Executor) -> Callable[[], object]:
    def trip() -> None:
        futures = [executor.submit(abs, -1) for _ in range(IN_FLIGHT)]
        if sum(future.result() for future in futures) != IN_FLIGHT:
            raise RuntimeError("a wrong result")

    return trip


def returned(executor: Executor, function: Callable[[int], np.ndarray], size: int) -> Callable[[], object]:
    def trip() -> np.ndarray:
        array: np.ndarray = executor.submit(function, size).result()
        if array.nbytes != size * MIB or array[-1] != 1.0:
            raise RuntimeError("a wrong result")
        return array

    return trip


def bench(trips: int, size: int) -> tuple[list[Row], list[Ratio]]:
    import pannier

    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(ProcessPoolExecutor(1))
        peer.submit(abs, -1).result()
        ours = stack.enter_context(pannier.Executor(1))
        ours.submit(abs, -1).result()
        both = (("ProcessPoolExecutor(1)", peer), ("pannier.Executor(1)", ours))

        single = [Row(name, "submit(abs, -1).result()", one(each)) for name, each in both]
        time_rows(single, 20 * trips)
        text = f"{IN_FLIGHT:,} calls in flight"
        flight = [Row(name, text, many(each)) for name, each in both]
        time_rows(flight, trips)
        text = f"a result of {size} MiB"
        large = [Row(name, f"{text}, np.ones", returned(each, make_plain, size)) for name, each in both]
        large.append(Row(both[1][0], f"{text}, pannier.empty", returned(ours, make, size)))
        time_rows(large, trips)

    ratios = [
        ratio("one call", single[1], single[0], 1 / 5),
        ratio(f"{IN_FLIGHT:,} calls in flight", flight[1], flight[0], 1 / 5),
        ratio(f"{size} MiB made by pannier.empty", large[2], large[0], 1 / 15),
        ratio(f"{size} MiB, any array", large[1], large[0], 1 / 15),
    ]
    return single + flight + large, ratios


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--trips", type=int, default=20, help="per row, at least (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=100, metavar="MIB", help="of the result (default: %(default)s)"
    )
    options = parser.parse_args()
    facts = machine()
    rows, ratios = bench(options.trips, options.size)
    lines = ["The arrays are made anew for each call; the time of that is in both."]
    return report(options, "Calls to one worker process", facts, rows, ratios, lines=lines)


if __name__ == "__main__":
    sys.exit(main())
