"""Calls to worker processes: pannier.Executor and ProcessPoolExecutor, in one run.

Prints medians with the fastest and the slowest of all trips. The rows of a group take turns of a
few trips each, so that what else the machine does falls on all alike. `--json` prints all times
instead.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor

import numpy as np
from echo import Ratio, Row, machine, time_rows

MIB = 2**20
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

    def ratio(name: str, row: Row, other: Row, most: float) -> Ratio:
        return Ratio(name, row.median / other.median, min(row.seconds) / min(other.seconds), most)

    ratios = [
        ratio("one call", single[1], single[0], 1 / 5),
        ratio(f"{IN_FLIGHT:,} calls in flight", flight[1], flight[0], 1 / 5),
        ratio(f"{size} MiB made by pannier.empty", large[2], large[0], 1 / 15),
        ratio(f"{size} MiB, any array", large[1], large[0], 1 / 5),
    ]
    return single + flight + large, ratios


def show(rows: Sequence[Row], ratios: Sequence[Ratio], facts: dict[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    table = Table(title="Calls to one worker process, microseconds", title_justify="left")
    for header in ("executor", "what", "median", "min", "max", "trips"):
        table.add_column(header, justify="left" if header in ("executor", "what") else "right")
    for row in rows:
        times = (f"{1e6 * each:,.1f}" for each in (row.median, min(row.seconds), max(row.seconds)))
        table.add_row(row.name, row.size, *times, str(len(row.seconds)))
    console.print(table)
    table = Table(title="Ratios: pannier / ProcessPoolExecutor", title_justify="left")
    for header in ("ratio", "of medians", "target", "", "of the fastest"):
        table.add_column(header, justify="left" if header in ("ratio", "") else "right")
    for ratio in ratios:
        said = "met" if ratio.met else "[bold red]missed[/]"
        table.add_row(
            ratio.name, f"{ratio.value:.3f}", f"≤ {ratio.most:.3f}", said, f"{ratio.fastest:.3f}"
        )
    console.print(table)
    lines = [
        f"{facts['processors']} processors, load {facts['load']:.1f} before the run, Python "
        f"{facts['python']}, NumPy {facts['numpy']}.",
        "The machine is noisy: read ratios, not times.",
        "The arrays are made anew for each call; the time of that is in both.",
    ]
    console.print("\n".join(lines), style="dim", soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trips", type=int, default=20, help="per row, at least (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=100, metavar="MIB", help="of the result (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print all times as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target was missed")
    options = parser.parse_args()
    facts = machine()  # the load before this adds to it
    start = time.perf_counter()
    rows, ratios = bench(options.trips, options.size)
    if options.json:
        answer = {
            "machine": facts,
            "seconds": time.perf_counter() - start,
            "rows": [{"way": row.name, "what": row.size, "seconds": row.seconds} for row in rows],
            "ratios": [dataclasses.asdict(ratio) | {"met": ratio.met} for ratio in ratios],
        }
        json.dump(answer, sys.stdout, indent=1)
        print()
    else:
        show(rows, ratios, facts)
    return int(options.check and not all(ratio.met for ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
