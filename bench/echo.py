"""Round trips of an array between two Python processes: pannier and its peers, in one run.

Prints medians with the fastest and the slowest of all trips. The rows of a group take turns of
a few trips each, so that what else the machine does falls on all alike. The first trip of a turn
finds the echo asleep and its memory out of the processor's cache: these have a column of their own
and do not count in the others. `--json` prints all times instead.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from carriers import Echo, PannierEcho, PipeEcho, ZmqEcho

MIB = 2**20
TURNS = 5  # of each row, after one that does not count
SMALL = (1, "a")


@dataclasses.dataclass
class Row:
    name: str
    size: str
    trip: Callable[[], object]
    seconds: list[float] = dataclasses.field(default_factory=list)
    first: list[float] = dataclasses.field(default_factory=list)  # of each turn

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclasses.dataclass
class Ratio:
    name: str
    value: float  # of the medians; this is judged
    fastest: float  # of the fastest trips, which other work on the machine slows least
    most: float  # the target

    @property
    def met(self) -> bool:
        return self.value <= self.most


def time_rows(rows: Sequence[Row], trips: int) -> None:
    """Times at least so many trips of each row, in TURNS turns."""
    each = -(-trips // TURNS)
    for turn in range(TURNS + 1):
        for row in rows:
            for number in range(each + 1):
                start = time.perf_counter()
                answer = row.trip()
                seconds = time.perf_counter() - start
                del answer
                if turn > 0:
                    (row.seconds if number > 0 else row.first).append(seconds)


def expect(answer: object, array: np.ndarray) -> None:
    if not np.array_equal(answer, array):
        raise RuntimeError("an echo came back changed")


def bench(trips: int, size: int) -> tuple[list[Row], list[Ratio], dict[str, int]]:
    import pannier

    array = np.random.default_rng(1).random(size * MIB // 8)
    target = np.empty_like(array)
    with contextlib.ExitStack() as stack:
        pipe, zmq = stack.enter_context(PipeEcho()), stack.enter_context(ZmqEcho())
        lease = stack.enter_context(PannierEcho())
        echoes: list[Echo] = [pipe, zmq, lease]
        text = f"{size} MiB"

        def row(echo: Echo, name: str, sent: object, size: str) -> Row:
            return Row(f"{echo.name}{name}", size, lambda: echo.trip(sent))

        for echo in echoes:
            expect(echo.trip(array), array)
        memcpy = Row("one copy, warm (np.copyto)", text, lambda: np.copyto(target, array))
        large = [row(pipe, "", array, text), row(zmq, "", array, text)]
        large += [row(lease, ", copied each way", array, text), memcpy]
        before = pannier.pool().stats().copied_bytes
        time_rows(large, trips)
        copied = {large[2].name: pannier.pool().stats().copied_bytes - before}

        # An echo is told which array to answer with: these take turns, so each has its own.
        ready, expected = [], []
        for mebibytes in (1, size, 4 * size):
            echo = stack.enter_context(PannierEcho())
            sent = pannier.empty(mebibytes * MIB // 8, np.float64)
            sent[:] = 1.0
            echo.ready_made(sent.size)
            expected.append(np.arange(sent.size))
            ready.append(row(echo, ", from pannier.empty", sent, f"{mebibytes} MiB"))
        before = pannier.pool().stats().copied_bytes
        time_rows(ready, 10 * trips)
        copied[ready[0].name] = pannier.pool().stats().copied_bytes - before
        # Not before: pages of an array that was read stay entered, and are looked through
        # when it is handed back.
        for each, array in zip(ready, expected, strict=True):
            expect(each.trip(), array)

        sleeping = stack.enter_context(PannierEcho(carrier="lane", spin=0))
        by_zmq = stack.enter_context(PannierEcho(carrier="zmq"))
        small = [row(echo, "", SMALL, str(SMALL)) for echo in echoes]
        small.append(row(sleeping, ", without spinning", SMALL, str(SMALL)))
        small.append(row(by_zmq, ", carried by ZeroMQ", SMALL, str(SMALL)))
        time_rows(small, 100 * trips)

    def ratio(name: str, row: Row, other: Row, most: float) -> Ratio:
        return Ratio(name, row.median / other.median, min(row.seconds) / min(other.seconds), most)

    once = f"{text}: pannier, copied each way / "
    ratios = [
        ratio(once + "Pipe", large[2], large[0], 0.1),
        ratio(once + "pyzmq", large[2], large[1], 1 / 3),
        ratio(f"pannier.empty: {ready[2].size} / {ready[0].size}", ready[2], ready[0], 1.5),
        ratio(f"{SMALL}: pannier / Pipe", small[2], small[0], 0.5),
        ratio(f"{SMALL}: pannier, without spinning / Pipe", small[3], small[0], 1.1),
        ratio(f"{SMALL}: pannier, carried by ZeroMQ / pyzmq", small[4], small[1], 1.0),
    ]
    return large + ready + small, ratios, copied


def machine() -> dict[str, object]:
    return {
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def show(
    rows: Sequence[Row], ratios: Sequence[Ratio], copied: dict[str, int], facts: dict[str, object]
) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    table = Table(title="Round trips, Python to Python and back, microseconds", title_justify="left")
    for header in ("way", "what", "median", "min", "max", "trips", "first"):
        table.add_column(header, justify="left" if header in ("way", "what") else "right")
    for row in rows:
        times = (f"{1e6 * each:,.1f}" for each in (row.median, min(row.seconds), max(row.seconds)))
        first = f"{1e6 * statistics.median(row.first):,.1f}"
        table.add_row(row.name, row.size, *times, str(len(row.seconds)), first)
    console.print(table)
    table = Table(title="Ratios", title_justify="left")
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
        "first: median of the first trips of the turns, after other rows ran.",
        "The arrays are float64. A timed trip reads nothing of what it received: these are times of "
        "carrying. Rows from pannier.empty are checked after the clock stopped: pages that were "
        "read cost more to hand back than pages that never were.",
        "np.copyto is one plain copy, no floor: pannier copies large buffers with streaming stores.",
        "Copied by this process's sends, as its pool counted: "
        + "; ".join(f"{way}: {count / MIB:,.0f} MiB" for way, count in copied.items()),
    ]
    console.print("\n".join(lines), style="dim", soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trips", type=int, default=20, help="per row, at least (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=64, metavar="MIB", help="of the array (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print all times as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target was missed")
    options = parser.parse_args()
    facts = machine()  # the load before this adds to it
    rows, ratios, copied = bench(options.trips, options.size)
    if options.json:
        answer = {
            "machine": facts,
            "rows": [
                {"way": row.name, "what": row.size, "seconds": row.seconds, "first": row.first}
                for row in rows
            ],
            "ratios": [dataclasses.asdict(ratio) | {"met": ratio.met} for ratio in ratios],
            "copied_bytes": copied,
        }
        json.dump(answer, sys.stdout, indent=1)
        print()
    else:
        show(rows, ratios, copied, facts)
    return int(options.check and not all(ratio.met for ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
