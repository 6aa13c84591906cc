"""Three ways to carry objects between two Python processes, each with an echo at its far end.

An Echo is a process that sends back what it receives. `trip(obj)` sends an object and returns
the answer. Used by echo.py and plot.py.
"""

from __future__ import annotations

import abc
import multiprocessing
import pickle
import tempfile
from typing import Any

import numpy as np

SPAWN = multiprocessing.get_context("spawn")
TIMEOUT = 60.0  # seconds that a trip may take
MAKE = "make this"  # (MAKE, n): the echo's answers are from now on an array of n, from its pool
STOP = "stop"


class Echo(abc.ABC):
    name: str
    _process: multiprocessing.Process

    @abc.abstractmethod
    def send(self, obj: Any) -> None: ...

    @abc.abstractmethod
    def receive(self) -> Any: ...

    @abc.abstractmethod
    def disconnect(self) -> None: ...

    def trip(self, obj: Any) -> Any:
        self.send(obj)
        return self.receive()

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        if kind is None:
            self.send(STOP)
            self._process.join(TIMEOUT)
        self._process.kill()  # does nothing to a process that has ended
        self._process.join()
        self.disconnect()


class PipeEcho(Echo):
    """multiprocessing.Pipe: a socket pair; arrays are inside the pickle."""

    name = "multiprocessing.Pipe"

    def __init__(self) -> None:
        self._connection, far = SPAWN.Pipe()
        self._process = SPAWN.Process(target=serve_pipe, args=(far,), daemon=True)
        self._process.start()
        far.close()

    def send(self, obj: Any) -> None:
        self._connection.send(obj)

    def receive(self) -> Any:
        return self._connection.recv()

    def disconnect(self) -> None:
        self._connection.close()


def serve_pipe(connection) -> None:
    while not is_stop(obj := connection.recv()):
        connection.send(obj)


class ZmqEcho(Echo):
    """pyzmq over ipc: pickle 5, each buffer a frame of a multipart message, not copied in Python.

    Small frames are copied, as they are sent faster so: zmq.COPY_THRESHOLD is pyzmq's own bound.
    """

    name = "pyzmq, pickle 5"

    def __init__(self) -> None:
        import zmq

        self._folder = tempfile.TemporaryDirectory(prefix="pyzmq-echo-")
        endpoint = f"ipc://{self._folder.name}/echo"
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.rcvtimeo = self._socket.sndtimeo = int(TIMEOUT * 1000)
        self._socket.bind(endpoint)
        self._process = SPAWN.Process(target=serve_zmq, args=(endpoint,), daemon=True)
        self._process.start()

    def send(self, obj: Any) -> None:
        send_zmq(self._socket, obj)

    def receive(self) -> Any:
        return receive_zmq(self._socket)

    def disconnect(self) -> None:
        self._socket.close()
        self._context.term()
        self._folder.cleanup()


def send_zmq(socket, obj: Any) -> None:
    import zmq

    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(obj, protocol=5, buffer_callback=buffers.append)
    if not buffers:
        socket.send(stream)
        return
    socket.send(stream, zmq.SNDMORE)
    socket.send_multipart([buffer.raw() for buffer in buffers], copy=False)


def receive_zmq(socket) -> Any:
    stream = socket.recv()
    if not socket.rcvmore:
        return pickle.loads(stream)
    frames = socket.recv_multipart(copy=False)
    return pickle.loads(stream, buffers=[frame.buffer for frame in frames])


def serve_zmq(endpoint: str) -> None:
    import zmq

    context = zmq.Context()
    with context.socket(zmq.PAIR) as socket:
        socket.connect(endpoint)
        while not is_stop(obj := receive_zmq(socket)):
            send_zmq(socket, obj)
    context.term()


class PannierEcho(Echo):
    """pannier over a link. An array that the echo received lies in this process's memory, so
    sending it back copies it, as sending an ordinary array from here does: one copy each way.
    After `ready_made(n)` the echo answers with an array of its own pool: with arrays of
    `pannier.empty` on both sides nothing is copied. `options` are those of both sides.
    """

    name = "pannier"

    def __init__(self, **options: Any) -> None:
        import pannier

        self._folder = tempfile.TemporaryDirectory(prefix="pannier-echo-")
        endpoint = f"ipc://{self._folder.name}/echo"
        self._listener = pannier.Listener(endpoint, **options)
        self._process = SPAWN.Process(target=serve_pannier, args=(endpoint, options), daemon=True)
        self._process.start()
        self.connection = self._listener.accept(timeout=TIMEOUT)

    def ready_made(self, count: int) -> None:
        """From now on the answer to anything is a ready-made array of `count` numbers; 0: an echo."""
        assert self.trip((MAKE, count)) == count

    def send(self, obj: Any) -> None:
        self.connection.send(obj, timeout=TIMEOUT)

    def receive(self) -> Any:
        return self.connection.recv(timeout=TIMEOUT)

    def disconnect(self) -> None:
        self.connection.close()
        self._listener.close()
        self._folder.cleanup()


def serve_pannier(endpoint: str, options: dict[str, Any]) -> None:
    import pannier

    answer = None
    with pannier.connect(endpoint, **options) as connection:
        while not is_stop(obj := connection.recv()):
            if isinstance(obj, tuple) and obj[0] == MAKE:
                count = obj[1]
                answer = None
                if count:
                    answer = pannier.empty(count, np.float64)
                    answer[:] = np.arange(count)
                connection.send(count)
            else:
                connection.send(obj if answer is None else answer)
            del obj  # goes home before the next is waited for


def is_stop(obj: Any) -> bool:
    return isinstance(obj, str) and obj == STOP
