"""What the benchmarks in Python share: rows that take turns, ratios with their targets, and how
both are printed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

MIB = 2**20
TURNS = 5  # of each row, after one that does not count


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


def ratio(name: str, row: Row, other: Row, most: float) -> Ratio:
    return Ratio(name, row.median / other.median, min(row.seconds) / min(other.seconds), most)


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


def machine() -> dict[str, object]:
    """To be asked before a run, which adds to the load."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print all times as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target was missed")
    return parser


def report(
    options: argparse.Namespace,
    title: str,
    facts: dict[str, object],
    rows: Sequence[Row],
    ratios: Sequence[Ratio],
    *,
    lines: Sequence[str] = (),
    **more: object,
) -> int:
    """Prints as `options`, of a parser of ``arguments``, say; `lines` go below the tables and `more`
    into the JSON. Returns the exit status."""
    if options.json:
        answer = {
            "machine": facts,
            "rows": [
                {"way": row.name, "what": row.size, "seconds": row.seconds, "first": row.first}
                for row in rows
            ],
            "ratios": [dataclasses.asdict(ratio) | {"met": ratio.met} for ratio in ratios],
            **more,
        }
        json.dump(answer, sys.stdout, indent=1)
        print()
    else:
        _show(title, facts, rows, ratios, lines)
    return int(options.check and not all(ratio.met for ratio in ratios))


def _show(
    title: str,
    facts: dict[str, object],
    rows: Sequence[Row],
    ratios: Sequence[Ratio],
    lines: Sequence[str],
) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    table = Table(title=f"{title}, microseconds", title_justify="left")
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
    for each in ratios:
        said = "met" if each.met else "[bold red]missed[/]"
        table.add_row(
            each.name, f"{each.value:.3f}", f"≤ {each.most:.3f}", said, f"{each.fastest:.3f}"
        )
    console.print(table)
    always = [
        f"{facts['processors']} processors, load {facts['load']:.1f} before the run, Python "
        f"{facts['python']}, NumPy {facts['numpy']}.",
        "The machine is noisy: read ratios, not times.",
        "first: median of the first trips of the turns, after other rows ran.",
    ]
    console.print("\n".join([*always, *lines]), style="dim", soft_wrap=True)
