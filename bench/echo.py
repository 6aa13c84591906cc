"""Round trips of an array between two Python processes: pannier and its peers, in one run.

Prints medians with the fastest and the slowest of all trips. The rows of a group take turns of
a few trips each, so that what else the machine does falls on all alike. The first trip of a turn
finds the echo asleep and its memory out of the processor's cache: these have a column of their own
and do not count in the others. `--json` prints all times instead.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

import numpy as np

from carriers import Echo, PannierEcho, PipeEcho, ZmqEcho
from report import MIB, Ratio, Row, arguments, machine, ratio, report, time_rows

SMALL = (1, "a")


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


def notes(copied: dict[str, int]) -> Sequence[str]:
    return [
        "The arrays are float64. A timed trip reads nothing of what it received: these are times of "
        "carrying. Rows from pannier.empty are checked after the clock stopped: pages that were "
        "read cost more to hand back than pages that never were.",
        "np.copyto is one plain copy, no floor: pannier copies large buffers with streaming stores.",
        "Copied by this process's sends, as its pool counted: "
        + "; ".join(f"{way}: {count / MIB:,.0f} MiB" for way, count in copied.items()),
    ]


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--trips", type=int, default=20, help="per row, at least (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=64, metavar="MIB", help="of the array (default: %(default)s)"
    )
    options = parser.parse_args()
    facts = machine()
    rows, ratios, copied = bench(options.trips, options.size)
    title = "Round trips, Python to Python and back"
    lines = notes(copied)
    return report(options, title, facts, rows, ratios, lines=lines, copied_bytes=copied)


if __name__ == "__main__":
    sys.exit(main())
