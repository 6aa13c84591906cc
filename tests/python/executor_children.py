"""What the tests of Executor run in workers."""

import os
import signal
import threading
import time

import numpy as np

import pannier

initialized = None


def initialize(value):
    global initialized
    initialized = value


def fail_to_initialize():
    raise ValueError("this initializer fails on purpose")


def get_initialized():
    return initialized


def add(left, right=1):
    return left + right


def mul(left, right):
    return left * right


def pid(*_):
    time.sleep(0.01)
    return os.getpid()


def sleep(seconds, value=None):
    time.sleep(seconds)
    return value


def fail(message):
    raise RuntimeError(message)  # some comment


def leave(code):
    raise SystemExit(code)


def die(*_):
    os._exit(3)


def kill_yourself():
    os.kill(os.getpid(), signal.SIGKILL)


def lock():
    return threading.Lock()


def double(array):
    result = pannier.empty(array.shape, array.dtype)
    np.multiply(array, 2, out=result)
    return result


def where_is_writeable(array):
    return array.flags.writeable, float(array.sum())


def cancelled_soon():
    return pannier.current_call().remaining


class Unloadable:
    """Pickles, and raises where it is loaded."""

    def __reduce__(self):
        return fail, ("loaded",)


class Refuses:
    def __reduce__(self):
        raise ValueError("will not be pickled")


def unloadable():
    return Unloadable()


def map_at_exit(pipe, address, workers):
    """A program that ends with calls pending."""
    executor = pannier.Executor(workers)
    futures = [executor.submit(sleep, 0.05, number) for number in range(6)]
    futures[-1].add_done_callback(lambda future: pipe.send(future.result()))


def hold_workers(pipe):
    """A program with workers that is going to be killed."""
    executor = pannier.Executor(2)
    pipe.send(sorted({executor.submit(pid).result() for _ in range(10)}))
    executor.submit(sleep, 1000)
    pipe.recv()
