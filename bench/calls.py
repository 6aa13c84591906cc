"""Calls from Python: of a server in C++ and of one in Python, beside multiprocessing.Pipe's echo, and
how long an event loop with many calls in flight is held up.

Prints medians with the fastest and the slowest of all calls. The rows take turns of a few calls each,
so that what else the machine does falls on all alike. `--json` prints all times instead. `--server` is
a program with the method "echo", as examples/echo_server.cc; without it its rows are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from carriers import SPAWN, PipeEcho
from report import Ratio, Row, arguments, machine, ratio, report, time_rows

SMALL = (1, "a")
ARRAY = np.zeros(4, np.float32)
TIMEOUT = 60.0


def echo(obj: Any) -> Any:
    return obj


def serve(endpoint: str) -> None:
    import pannier

    server = pannier.Server(endpoint)
    server.method(echo)
    server.serve_forever()


@contextlib.contextmanager
def client_of(process: Any, endpoint: str):
    import pannier

    try:
        with pannier.Client(endpoint, connect_timeout=TIMEOUT, timeout=TIMEOUT) as client:
            yield client
    finally:
        process.kill()


def python_server(stack: contextlib.ExitStack, folder: str) -> Any:
    endpoint = f"ipc://{folder}/python"
    process: multiprocessing.process.BaseProcess = SPAWN.Process(
        target=serve, args=(endpoint,), daemon=True
    )
    process.start()
    stack.callback(process.join)
    return stack.enter_context(client_of(process, endpoint))


def other_server(stack: contextlib.ExitStack, folder: str, program: str) -> Any:
    endpoint = f"ipc://{folder}/other"
    process = subprocess.Popen([program, "--endpoint", endpoint])
    stack.callback(process.wait)
    return stack.enter_context(client_of(process, endpoint))


def held_up(client: Any, calls: int) -> list[float]:
    """How long the callbacks of a loop took that has so many calls in flight, in seconds: of 20
    rounds, the longest of each. In every second round all answers are there at once. Collections of
    garbage, and the task that starts the calls, do not count."""
    longest = 0.0
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        start = time.perf_counter()
        run(handle)
        seconds = time.perf_counter() - start
        if getattr(handle._callback, "__self__", None) is not main:
            longest = max(longest, seconds)

    async def rounds() -> list[float]:
        nonlocal longest, main
        main = asyncio.current_task()
        found = []
        for number in range(20):
            waiting = [asyncio.create_task(client.call_async("echo", i)) for i in range(calls)]
            await asyncio.sleep(0)
            if number % 2:
                time.sleep(0.05)
            longest = 0.0
            await asyncio.gather(*waiting)
            found.append(longest)
        return found

    main: Any = None
    gc.disable()
    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        return asyncio.run(rounds())
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.enable()


def bench(calls: int, program: str | None) -> tuple[list[Row], list[Ratio], list[float]]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pannier-calls-"))
        pipe = stack.enter_context(PipeEcho())
        python = python_server(stack, folder)
        rows = [
            Row(f"{pipe.name}, echo", str(SMALL), lambda: pipe.trip(SMALL)),
            Row("call, server in Python", str(SMALL), lambda: python.call("echo", SMALL)),
            Row("submit, server in Python", str(SMALL), lambda: python.submit("echo", SMALL).result()),
        ]
        arrays = []
        if program is not None:
            other = other_server(stack, folder, program)
            rows.append(Row("call, server in C++", str(SMALL), lambda: other.call("echo", SMALL)))
            rows.append(
                Row("submit, server in C++", str(SMALL), lambda: other.submit("echo", SMALL).result())
            )
            arrays = [
                Row(f"{pipe.name}, echo", "an array of 16 bytes", lambda: pipe.trip(ARRAY)),
                Row("call, server in C++", "an array of 16 bytes", lambda: other.call("echo", ARRAY)),
            ]
        time_rows(rows + arrays, calls)
        held = held_up(python, 1000)
    most = {"call, server in C++": 0.4, "call, server in Python": 0.8}
    ratios = [
        ratio(f"{row.name} / Pipe", row, rows[0], most.get(row.name, 1.0)) for row in rows[1:]
    ]
    if arrays:
        ratios.append(ratio("call with an array, server in C++ / Pipe", arrays[1], arrays[0], 0.4))
    return rows + arrays, ratios, held


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--calls", type=int, default=5000, help="per row (default: %(default)s)")
    parser.add_argument("--server", help="a program whose method \"echo\" returns its argument")
    options = parser.parse_args()
    facts = machine()
    rows, ratios, held = bench(options.calls, options.server)
    lines = [
        "The longest callback of an event loop with 1,000 calls in flight: in the median of 20 rounds "
        f"{statistics.median(held) * 1e3:.2f} ms, at most {max(held) * 1e3:.2f} ms (target: 1)."
    ]
    return report(options, "Calls from Python", facts, rows, ratios, lines=lines)


if __name__ == "__main__":
    sys.exit(main())
