"""Draws the round-trip time against the size of the array, for the ways of echo.py.

Nobody reads the arrays that arrive, not even once.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np

from carriers import PannierEcho, PipeEcho, ZmqEcho

SIZES = [2**exponent for exponent in range(10, 29, 2)]  # bytes: 1 KiB to 256 MiB
BUDGET = 0.4  # seconds for one point
MOST_TRIPS = 200
COLOURS = {"Pipe": "#8a8a8a", "pyzmq": "#d98c1f", "pannier, copied": "#5b9bd5", "pannier.empty": "#1f4e9c"}


def point(trip: Callable[[], object]) -> tuple[float, float, float]:
    """Median, first and last decile of trips that together take about BUDGET."""
    trip()
    start = time.perf_counter()
    trip()
    trips = int(np.clip(BUDGET / (time.perf_counter() - start), 3, MOST_TRIPS))
    times = []
    for _ in range(trips):
        start = time.perf_counter()
        trip()
        times.append(time.perf_counter() - start)
    return tuple(np.quantile(times, (0.5, 0.1, 0.9)))


def measure() -> dict[str, list[tuple[float, float, float]]]:
    import pannier

    curves: dict[str, list] = {name: [] for name in COLOURS}
    with contextlib.ExitStack() as stack:
        pipe, zmq = stack.enter_context(PipeEcho()), stack.enter_context(ZmqEcho())
        copied, ready = stack.enter_context(PannierEcho()), stack.enter_context(PannierEcho())
        for size in SIZES:
            array = np.ones(size // 8)
            for name, echo in (("Pipe", pipe), ("pyzmq", zmq), ("pannier, copied", copied)):
                curves[name].append(point(lambda: echo.trip(array)))
            frame = pannier.empty(size // 8, np.float64)
            frame[:] = 1.0
            ready.ready_made(frame.size)
            curves["pannier.empty"].append(point(lambda: ready.trip(frame)))
    return curves


def draw(curves: dict[str, list[tuple[float, float, float]]], path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, points in curves.items():
        median, low, high = (1e6 * np.array(column) for column in zip(*points))
        axes.loglog(SIZES, median, "o-", color=COLOURS[name], markersize=4)
        axes.fill_between(SIZES, low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
        axes.annotate(
            name, (SIZES[-1], median[-1]), (8, 0), textcoords="offset points",
            color=COLOURS[name], va="center",
        )  # fmt: skip
    axes.set_xticks(SIZES[::2], [label(size) for size in SIZES[::2]])
    axes.minorticks_off()
    axes.set_yticks([10.0**k for k in range(1, 7)], ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"])
    axes.set_title("Round trip of an array between two Python processes", loc="left")
    axes.set_xlabel("size of the array; line: median, band: 10 % to 90 %")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def label(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 2**20 else f"{size >> 10} KiB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("build/bench/echo.png"),
        help="the picture (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    draw(measure(), options.out)
    print(f"picture: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
