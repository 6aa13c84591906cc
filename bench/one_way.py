"""Small messages one way to another process, from Python: pannier and pyzmq, in one run.

Prints medians with the fastest and the slowest of all rounds; the rows take turns. `--json` prints
all times instead.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from typing import Any

from carriers import SPAWN, STOP, TIMEOUT, Echo
from echo import SMALL
from report import Ratio, Row, arguments, machine, ratio, report, time_rows

MESSAGES = 100_000


class OneWay(Echo):
    """`trip` sends many messages; what it returns is the answer to the last one."""

    def __init__(self, messages: int) -> None:
        self._messages = messages

    def trip(self, obj: Any) -> Any:
        for _ in range(self._messages):
            self.send(obj)
        return self.receive()


class ZmqOneWay(OneWay):
    """pyzmq: PUSH here and PULL there, pickled by send_pyobj."""

    name = "pyzmq, PUSH and PULL"

    def __init__(self, messages: int) -> None:
        import zmq

        super().__init__(messages)
        self._folder = tempfile.TemporaryDirectory(prefix="pyzmq-one-way-")
        ends = [f"ipc://{self._folder.name}/{name}" for name in ("there", "back")]
        self._context = zmq.Context()
        self._push, self._pull = self._context.socket(zmq.PUSH), self._context.socket(zmq.PULL)
        for socket, end in zip((self._push, self._pull), ends, strict=True):
            socket.linger = 0
            socket.rcvtimeo = socket.sndtimeo = int(TIMEOUT * 1000)
            socket.bind(end)
        self._process = SPAWN.Process(target=serve_zmq, args=(*ends, messages), daemon=True)
        self._process.start()

    def send(self, obj: Any) -> None:
        self._push.send_pyobj(obj)

    def receive(self) -> Any:
        return self._pull.recv_pyobj()

    def disconnect(self) -> None:
        self._push.close()
        self._pull.close()
        self._context.term()
        self._folder.cleanup()


def serve_zmq(there: str, back: str, messages: int) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.connect(there)
        push.connect(back)
        count = 0
        while (obj := pull.recv_pyobj()) != STOP:
            count += 1
            if count % messages == 0:
                push.send_pyobj(obj)


class PannierOneWay(OneWay):
    """pannier over a link, with default settings."""

    name = "pannier"

    def __init__(self, messages: int) -> None:
        import pannier

        super().__init__(messages)
        self._folder = tempfile.TemporaryDirectory(prefix="pannier-one-way-")
        endpoint = f"ipc://{self._folder.name}/there"
        self._listener = pannier.Listener(endpoint)
        self._process = SPAWN.Process(target=serve_pannier, args=(endpoint, messages), daemon=True)
        self._process.start()
        self._connection = self._listener.accept(timeout=TIMEOUT)

    def send(self, obj: Any) -> None:
        self._connection.send(obj)

    def receive(self) -> Any:
        return self._connection.recv(timeout=TIMEOUT)

    def disconnect(self) -> None:
        self._connection.close()
        self._listener.close()
        self._folder.cleanup()


def serve_pannier(endpoint: str, messages: int) -> None:
    import pannier

    with pannier.connect(endpoint) as connection:
        count = 0
        while (obj := connection.recv()) != STOP:
            count += 1
            if count % messages == 0:
                connection.send(obj)


def bench(rounds: int, messages: int) -> tuple[list[Row], list[Ratio]]:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(kind(messages)) for kind in (ZmqOneWay, PannierOneWay)]
        what = f"{messages:,} x {SMALL}"
        rows = [Row(each.name, what, lambda each=each: each.trip(SMALL)) for each in streams]
        time_rows(rows, rounds)
    return rows, [ratio("messages one way: pannier / pyzmq", rows[1], rows[0], 0.5)]


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each row (default: %(default)s)")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="a round (default: %(default)s)")
    options = parser.parse_args()
    facts = machine()
    rows, ratios = bench(options.rounds, options.messages)
    return report(options, "One way", facts, rows, ratios)


if __name__ == "__main__":
    sys.exit(main())
