"""The C++ codec against CPython's `_pickle`, on the same streams, in one run.

Workloads take turns, and in each turn both sides are timed one after the other; shown are medians
over the turns. Times are of processor time, so that what else the machine does hardly counts, and
without Python's garbage collector, which would only slow CPython down. "cold" starts with memory
that the system has just given; else arena and memo are used again. `--json` prints the times.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO

from codec_workloads import Workload, workloads
from echo import machine

TURNS, QUICK_TURNS = 5, 3
MILLISECONDS, QUICK_MILLISECONDS = 60, 10  # of one measurement
QUICK_SCALE = 0.1
MICROSECOND = 1e-6


@dataclasses.dataclass
class Target:
    name: str
    value: float
    bound: float
    least: bool = True  # else at most
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.least else self.value <= self.bound


def time_calls(call: Callable[[], object], seconds: float) -> float:
    """The median time of a call, of at least three that together take about so long."""
    times: list[float] = []
    end = time.thread_time() + seconds
    while len(times) < 3 or time.thread_time() < end:
        calls = 1
        while True:
            start = time.thread_time()
            for _ in range(calls):
                result = call()
            took = time.thread_time() - start
            del result
            if took > 20 * MICROSECOND:
                break
            calls *= 4
        times.append(took / calls)
    return statistics.median(times)


class Codec:
    """The C++ program."""

    def __init__(self, program: pathlib.Path, folder: str) -> None:
        self.process = subprocess.Popen(
            [program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin and self.process.stdout
        self.input: IO[str] = self.process.stdin
        self.output: IO[str] = self.process.stdout

    def turn(self, work: Workload, milliseconds: float) -> dict[str, float]:
        size = max((len(buffer) for buffer in work.buffers), default=0)
        print(work.name, len(work.buffers), size, milliseconds, file=self.input, flush=True)
        times = {}
        while line := self.output.readline().strip():
            way, seconds = line.rsplit(" ", 1)
            times[way] = float(seconds)
        if not times:
            raise RuntimeError(f"codec_times ended with {self.process.wait(10)}")
        return times

    def close(self) -> None:
        self.input.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(
    works: list[Workload], program: pathlib.Path, turns: int, milliseconds: float
) -> dict[str, dict[str, float]]:
    """For each workload the median of each way, in seconds."""
    from rich.console import Console
    from rich.progress import track

    seen: dict[str, dict[str, list[float]]] = {work.name: {} for work in works}
    dumps = {work.name: work.dump for work in works}
    with tempfile.TemporaryDirectory(prefix="pannier-bench-") as folder, contextlib.ExitStack() as stack:
        for work in works:
            (pathlib.Path(folder) / work.name).write_bytes(work.stream)
        codec = Codec(program, folder)
        stack.callback(codec.close)
        rounds = [work for _ in range(turns) for work in works]
        console = Console(stderr=True)
        for work in track(rounds, "codec", console=console, disable=not console.is_terminal):
            with collector_off():
                times = {"loads": time_calls(work.loads, milliseconds / 1000)}
                times["dumps"] = time_calls(dumps[work.name], milliseconds / 1000)
            times |= codec.turn(work, milliseconds)
            for way, seconds in times.items():
                seen[work.name].setdefault(way, []).append(seconds)
    return {
        name: {way: statistics.median(each) for way, each in ways.items()} for name, ways in seen.items()
    }


def targets(works: list[Workload], times: dict[str, dict[str, float]]) -> list[Target]:
    found = []
    for work in works:
        t = times[work.name]
        if work.name == "bytes":  # a view, whatever the length
            found.append(Target("bytes: decode", t["decode"] / MICROSECOND, 1, False, " µs"))
            continue
        if work.decode:
            found.append(Target(f"{work.name}: loads / decode", t["loads"] / t["decode"], work.decode))
        found.append(Target(f"{work.name}: loads / decode, cold", t["loads"] / t["decode cold"], 1))
        found.append(Target(f"{work.name}: dumps / encode", t["dumps"] / t["encode"], 2))
        if work.typed:
            found.append(Target(f"{work.name}: decode / typed", t["decode"] / t["typed"], work.typed))
            cold = t["decode cold"] / t["typed cold"]
            found.append(Target(f"{work.name}: decode / typed, cold", cold, work.typed))
    array = times["array"]
    for way in "decode", "encode":
        found.append(Target(f"array: {way}", array[way] / MICROSECOND, 0.3, False, " µs"))
    for name in "json", "instances":
        ratio = times[name]["loads"] / times[name]["globals"]
        found.append(Target(f"{name}: loads / globals", ratio, 10))
    return found


COLUMNS = [
    ("loads", "CPython loads"), ("decode", "decode"), ("decode cold", "cold"), ("typed", "typed"),
    ("typed cold", "cold"), ("globals", "globals"), ("dumps", "CPython dumps"), ("encode", "encode"),
    ("encode cold", "cold"), ("typed dumps", "typed dumps"),
]  # fmt: skip


def show(
    works: list[Workload], times: dict[str, dict[str, float]], found: list[Target], facts: dict[str, object]
) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=150)
    table = Table(title="One pickle, protocol 5, milliseconds", title_justify="left")
    table.add_column("stream")
    for header in ("MB", *(header for _, header in COLUMNS)):
        table.add_column(header, justify="right")
    for work in works:
        cells = (times[work.name].get(way) for way, _ in COLUMNS)
        text = ("" if each is None else f"{1000 * each:,.3g}" if each > 1e-5 else f"{1000 * each:.5f}" for each in cells)
        table.add_row(work.what, f"{len(work.stream) / 1e6:.3g}", *text)
    console.print(table)
    table = Table(title="Targets", title_justify="left")
    for header in ("what", "measured", "target", ""):
        table.add_column(header, justify="left" if header in ("what", "") else "right")
    for each in found:
        said = "met" if each.met else "[bold red]missed[/]"
        sign = "≥" if each.least else "≤"
        table.add_row(each.name, f"{each.value:.2f}{each.unit}", f"{sign} {each.bound:g}{each.unit}", said)
    console.print(table)
    lines = [
        f"{facts['processors']} processors, load {facts['load']:.1f} before the run, Python "
        f"{facts['python']}, NumPy {facts['numpy']}.",
        "What is decoded is encoded again and compared with the stream; no buffer is copied.",
        "typed: Loads into vectors of numbers, texts, pairs and structs, a map, views of arrays.",
    ]
    console.print("\n".join(lines), style="dim", soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--program", type=pathlib.Path, default=pathlib.Path("build/release/bench/codec_times"),
        help="the C++ side (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="streams of a tenth, fewer turns: a few seconds")
    parser.add_argument("--json", action="store_true", help="print the times as JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target was missed")
    options = parser.parse_args()
    facts = machine()  # the load before this adds to it
    works = list(workloads(QUICK_SCALE if options.quick else 1))
    turns, milliseconds = (QUICK_TURNS, QUICK_MILLISECONDS) if options.quick else (TURNS, MILLISECONDS)
    times = measure(works, options.program, turns, milliseconds)
    found = targets(works, times)
    if options.json:
        results = [dataclasses.asdict(each) | {"met": each.met} for each in found]
        json.dump({"machine": facts, "seconds": times, "targets": results}, sys.stdout, indent=1)
        print()
    else:
        show(works, times, found, facts)
    return int(options.check and not all(each.met for each in found))


if __name__ == "__main__":
    sys.exit(main())
