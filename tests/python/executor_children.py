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


def wait_for(path):
    """Until the file is there."""
    end = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > end:
            return "ran out"
        time.sleep(0.002)
    return "waited"


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


class Unloadable:
    """Pickles, and raises where it is loaded."""

    def __reduce__(self):
        return fail, ("loaded",)


# Set where one of these is loaded, which takes half a second.
loading = threading.Event()


def load_slowly():
    loading.set()
    time.sleep(0.5)


class SlowToLoad:
    def __reduce__(self):
        return load_slowly, ()


class Refuses:
    def __reduce__(self):
        raise ValueError("will not be pickled")


def unloadable():
    return Unloadable()


def leave_an_executor(pipe):
    """A child that ends with an executor open, and its first worker on its way."""
    global left
    left = pannier.Executor(1, start_method="fork")
    left.submit(sleep, 0.05)
