"""What the tests of Executor share."""

import multiprocessing

import pytest


@pytest.fixture(scope="module", params=["fork", "forkserver"])
def method(request):
    multiprocessing.set_forkserver_preload(["numpy", "pannier", "children", "executor_children"])
    return request.param


def alive(pid):
    """False for a process that is gone, or dead and not reaped."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
