"""Ctrl-C while futures are on their way: it is raised where the program is, and no future is lost."""

import os
import random
import signal
import threading
import time
from concurrent.futures import wait

import calls_children
import pytest

import pannier


@pytest.fixture(params=["client", "executor"])
def start(request, child, ipc):
    """start(number) starts a call that returns it, and gives its future."""
    if request.param == "client":
        served = child(calls_children.serve, ipc, (), ())
        with pannier.Client(served.recv()) as client:
            yield lambda number: client.submit("echo", number)
    else:
        with pannier.Executor(2, start_method="forkserver") as executor:
            executor.submit(abs, 1).result(60)
            yield lambda number: executor.submit(abs, number)


def test_no_future_is_lost(start):
    armed, over = threading.Event(), threading.Event()
    again = random.Random(7)

    def interrupt():
        while not over.is_set():
            time.sleep(again.uniform(0.0005, 0.01))
            if armed.is_set():
                armed.clear()
                os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    interrupted = 0
    try:
        for _ in range(60):
            futures = []
            try:
                armed.set()
                for number in range(100):
                    futures.append(start(number))
                for future in futures:
                    future.result(30)
                armed.clear()
                time.sleep(0.02)  # one that was on its way
            except KeyboardInterrupt:
                interrupted += 1
            armed.clear()
            assert wait(futures, 30).not_done == set()
            assert [future.result(0) for future in futures] == list(range(len(futures)))
    finally:
        over.set()
        thread.join()
    assert interrupted > 0
    assert start(5).result(30) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
