"""The processes of an Executor: how they are started, and how their end is seen."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import secrets
import subprocess
import weakref
from collections.abc import Callable
from typing import Any

from . import _core
from ._worker_main import main

__all__ = ["START_SECONDS", "Process", "start_command", "start_python"]

# How long a process has to say that it listens.
START_SECONDS = 120.0


class Process:
    """One worker process, started."""

    def __init__(self, process: Any, listens: Callable[[], str], claims: _core.Claims | None) -> None:
        self._process = process  # multiprocessing's or subprocess.Popen
        self._listens = listens
        self.claims = claims  # None: of a program that is not Python
        self.pid: int = process.pid
        self.terminate: Callable[[], None] = process.terminate
        self.kill: Callable[[], None] = process.kill

    def wait_ready(self) -> str:
        """Its address, once it listens. Raises RuntimeError if it ends before."""
        return self._listens()

    @property
    def alive(self) -> bool:
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll() is None
        return bool(self._process.is_alive())

    def wait_end(self) -> None:
        if isinstance(self._process, subprocess.Popen):
            self._process.wait()
        else:
            multiprocessing.connection.wait([self._process.sentinel])
            self._process.join()


def _new_address() -> str:
    """An abstract socket: no file that could be left behind."""
    return f"ipc://@pannier-{os.getpid()}-{secrets.token_hex(8)}"


def start_python(
    context: Any, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> Process:
    """A process that runs _worker_main.main."""
    receiver, sender = context.Pipe(duplex=False)
    claimed = context.RawArray("Q", 2)
    process = context.Process(
        target=main, args=(_new_address(), sender, claimed, initializer, initargs)
    )
    process.start()
    sender.close()

    def listens() -> str:
        with receiver:
            multiprocessing.connection.wait([receiver, process.sentinel], START_SECONDS)
            if receiver.poll(0):
                with contextlib.suppress(EOFError):
                    address: str = receiver.recv()
                    return address
            process.terminate()
            process.join()
            raise RuntimeError(f"it ended with exit code {process.exitcode} before it listened")

    return Process(process, listens, _core.Claims(claimed))


def start_command(command: list[str]) -> Process:
    """A program that calls pannier::WorkerMain (rpc/worker.h)."""
    watched, held = os.pipe()
    reading, writing = os.pipe()
    try:
        words = ["--endpoint", _new_address(), "--parent-fd", str(watched), "--ready-fd", str(writing)]
        process = subprocess.Popen([*command, *words], pass_fds=(watched, writing))
    except BaseException:
        os.close(reading)
        os.close(held)
        raise
    finally:
        os.close(watched)
        os.close(writing)
    weakref.finalize(process, os.close, held)  # whose end tells the worker that this one is gone

    def listens() -> str:
        try:
            # It writes the line at once, or ends.
            ready = multiprocessing.connection.wait([reading], START_SECONDS)
            address = os.read(reading, 4096).decode().strip() if ready else ""
        finally:
            os.close(reading)
        if not address:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
            process.kill()
            raise RuntimeError(f"{command[0]} ended with {process.wait()} before it listened")
        return address

    return Process(process, listens, None)
