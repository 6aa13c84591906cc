"""Three ways to have the kernels worked by two other processes.

All three: WORKERS processes, IN_FLIGHT frames sent to each at a time, by one thread each. A way
gives every thread a caller, a function of a frame that returns the kernel's result and the
processor seconds that the worker spent in the kernel.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import pickle
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable

import numpy as np

from frames import Frame

WORKERS = 2
IN_FLIGHT = 2  # frames per worker
CALL_TIMEOUT = 60.0  # seconds

Caller = Callable[[Frame], tuple[np.ndarray, float]]


class WorkerFailed(Exception):
    """A worker process ended or does not answer."""


@dataclasses.dataclass
class Counts:
    """What statistics say of a way; None where a way keeps none."""

    copied: int | None = None  # bytes of pixels, by every process
    why: str = ""  # they were copied, where that is known
    leases: int | None = None  # out at the end, of every process's pool


class Way(abc.ABC):
    name: str

    @abc.abstractmethod
    def caller(self, thread: int) -> Caller:
        """The caller of one thread; called once for each. One thread at a time may use it."""

    def counts(self) -> Counts:
        return Counts()

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the workers. Idempotent."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def run_kernel(kernel: str, pixels: np.ndarray, parameter: float) -> tuple[np.ndarray, float]:
    """What a worker in Python does."""
    import demo_kernels

    result = np.empty(pixels.shape, np.uint8)
    start = time.thread_time()
    getattr(demo_kernels, kernel)(pixels, parameter, result)
    return result, time.thread_time() - start


class PannierWay(Way):
    """Workers in C++. Frames lie in this process's pool, results in the worker's."""

    name = "pannier"

    def __init__(self, program: pathlib.Path):
        import pannier

        self._pannier = pannier
        self._exit = contextlib.ExitStack()
        folder = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="pannier-demo-"))
        self._workers: list[CppWorker] = []
        self._clients: list = []
        try:
            for number in range(WORKERS):
                worker = CppWorker(program, f"ipc://{folder}/worker-{number}", folder, number)
                self._exit.callback(worker.close)
                self._workers.append(worker)
            for worker in self._workers:
                worker.wait_until_it_listens()
                with self._named(worker, "before it took a connection"):
                    client = pannier.Client(worker.endpoint, timeout=CALL_TIMEOUT)
                self._exit.callback(client.close)
                self._clients.append(client)
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def _named(self, worker: CppWorker, when: str):
        """Says of a lost connection which worker ended, how and when."""
        try:
            yield
        except (self._pannier.ConnectionLost, self._pannier.DeadlineExceeded) as error:
            raise WorkerFailed(f"{worker.obituary()} {when} ({error})") from error

    def caller(self, thread: int) -> Caller:
        worker = self._workers[thread % WORKERS]
        client = self._clients[thread % WORKERS]

        def call(frame: Frame) -> tuple[np.ndarray, float]:
            with self._named(worker, f"at {frame.kernel} of {frame.name}"):
                return client.call(frame.kernel, frame.pixels, frame.parameter)

        return call

    def counts(self) -> Counts:
        own = self._pannier.pool().stats()
        total = Counts(own.copied_bytes, leases=sum(peer.leases for peer in own.peers))
        for worker, client in zip(self._workers, self._clients):
            with self._named(worker, "when asked for its statistics"):
                copied, leases = client.call("pool_stats")
            # Payload that came or went inside frames was copied too, but not into a pool.
            stats = client.stats()
            total.copied += copied + stats.inline_bytes_sent + stats.inline_bytes_received
            total.leases += leases
            if not client.info.link:
                total.why = f"no memory is shared with a worker: {client.info.no_link_reason}"
        return total

    def close(self) -> None:
        self._exit.close()


class CppWorker:
    """A worker process; it ends when this process does, as it watches the pipe."""

    def __init__(self, program: pathlib.Path, endpoint: str, folder: str, number: int):
        self.endpoint = endpoint
        self._log = open(f"{folder}/worker-{number}.log", "w+", encoding="utf-8")
        self._ready, ready = os.pipe()
        self._process = subprocess.Popen(
            [program, "--endpoint", endpoint, "--parent-fd", "0", "--ready-fd", str(ready)],
            stdin=subprocess.PIPE,
            stderr=self._log,
            pass_fds=[ready],
        )
        os.close(ready)
        self._number = number + 1

    def wait_until_it_listens(self) -> None:
        readable, _, _ = select.select([self._ready], [], [], CALL_TIMEOUT)
        if not readable or not os.read(self._ready, 1):
            raise WorkerFailed(f"{self.obituary()} before it listened")

    def obituary(self) -> str:
        """How it ended."""
        who = f"worker {self._number} (pid {self._process.pid})"
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return f"{who} still runs but does not answer"
        how = f"exited with {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        self._log.seek(0)
        said = self._log.read().strip()
        return f"{who} {how}" + (f', saying "{said}",' if said else "")

    def close(self) -> None:
        os.close(self._ready)
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class PoolWay(Way):
    """multiprocessing.Pool: arrays are pickled and written into a pipe."""

    name = "multiprocessing.Pool"

    def __init__(self) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(WORKERS)

    def caller(self, thread: int) -> Caller:
        def call(frame: Frame) -> tuple[np.ndarray, float]:
            arguments = (frame.kernel, frame.pixels, frame.parameter)
            try:
                return self._pool.apply_async(run_kernel, arguments).get(CALL_TIMEOUT)
            except multiprocessing.TimeoutError as error:
                # A Pool does not tell when a worker died with a task.
                raise WorkerFailed(f"no answer from the Pool in {CALL_TIMEOUT:.0f} s") from error

        return call

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class ZmqWay(Way):
    """pyzmq: pickle 5, each buffer a frame of a multipart message, copied by no one but ZeroMQ."""

    name = "pyzmq, pickle 5"

    def __init__(self) -> None:
        import zmq

        self._zmq = zmq
        self._context = zmq.Context()
        self._exit = contextlib.ExitStack()
        folder = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="pyzmq-demo-"))
        self._endpoints = [f"ipc://{folder}/worker-{number}" for number in range(WORKERS)]
        self._processes = [
            multiprocessing.get_context("spawn").Process(
                target=serve_zmq, args=(endpoint,), daemon=True
            )
            for endpoint in self._endpoints
        ]
        for process in self._processes:
            process.start()

    def caller(self, thread: int) -> Caller:
        zmq = self._zmq
        number = thread % WORKERS
        socket = self._context.socket(zmq.REQ)
        socket.linger = 0
        socket.rcvtimeo = socket.sndtimeo = int(CALL_TIMEOUT * 1000)
        socket.connect(self._endpoints[number])
        self._exit.callback(socket.close)

        def call(frame: Frame) -> tuple[np.ndarray, float]:
            try:
                send_zmq(socket, (frame.kernel, frame.pixels, frame.parameter))
                return receive_zmq(socket)
            except zmq.Again as error:
                code = self._processes[number].exitcode
                raise WorkerFailed(
                    f"no answer from the pyzmq worker {number + 1} in {CALL_TIMEOUT:.0f} s; "
                    + ("it still runs" if code is None else f"it exited with {code}")
                ) from error

        return call

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.join()
        self._exit.close()
        self._context.term()


def send_zmq(socket, obj) -> None:
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(obj, protocol=5, buffer_callback=buffers.append)
    socket.send_multipart([stream, *(buffer.raw() for buffer in buffers)], copy=False)


def receive_zmq(socket):
    stream, *buffers = socket.recv_multipart(copy=False)
    return pickle.loads(stream.buffer, buffers=[frame.buffer for frame in buffers])


def serve_zmq(endpoint: str) -> None:
    """A worker in Python; it ends when its parent does."""
    import zmq

    parent = multiprocessing.parent_process().sentinel
    socket = zmq.Context.instance().socket(zmq.REP)
    socket.bind(endpoint)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(parent, zmq.POLLIN)
    while parent not in (ready := dict(poller.poll())):
        if socket in ready:
            send_zmq(socket, run_kernel(*receive_zmq(socket)))
