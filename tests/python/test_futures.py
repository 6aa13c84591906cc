"""Futures that make their lock when somebody needs it: as concurrent.futures says, whoever looks, and
when."""

import concurrent.futures
import sys
import threading
from concurrent.futures import CancelledError, Future, InvalidStateError, as_completed, wait

import pytest

from pannier._lazy_future import LazyFuture


@pytest.fixture
def often():
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("kind", [Future, LazyFuture])
@pytest.mark.parametrize("watched", [False, True])
def test_the_life_of_a_future(kind, watched):
    def new():
        future = kind()
        if watched:
            assert not future._condition.acquire(False) or not future._condition.release()
        return future

    future = new()
    assert not (future.running() or future.done() or future.cancelled())
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.001)
    assert future.set_running_or_notify_cancel() and future.running() and not future.cancel()
    future.set_result(5)
    assert future.done() and not future.running() and not future.cancelled()
    assert future.result() == future.result(0) == 5 and future.exception() is None
    with pytest.raises(InvalidStateError):
        future.set_result(6)
    with pytest.raises(InvalidStateError):
        future.set_exception(ValueError())
    assert future.result() == 5
    called = []
    future.add_done_callback(called.append)
    assert called == [future] and not future.cancel() and "finished" in repr(future)

    future = new()
    assert future.cancel() and future.cancelled() and future.done() and future.cancel()
    with pytest.raises(InvalidStateError):
        future.set_result(5)
    assert not future.set_running_or_notify_cancel()
    with pytest.raises(CancelledError):
        future.result()

    future = new()
    future.set_result(7)  # never said to be running
    assert future.result() == 7

    future = new()
    future.add_done_callback(called.append)
    future.set_running_or_notify_cancel()
    future.set_exception(ValueError("as it should"))
    assert called[-1] is future
    with pytest.raises(ValueError, match="as it should"):
        future.result()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        future.nothing  # noqa: B018


@pytest.mark.parametrize("way", ["result", "callback", "wait", "as_completed", "cancel"])
def test_whoever_begins_to_look_at_its_end(often, way):
    """One thread ends futures, another begins to look at them, at the same time."""
    futures = [LazyFuture() for _ in range(4000)]
    looked_at = -1  # up to here
    called, cancelled = [], []

    def end():
        for number, future in enumerate(futures):
            while looked_at < number:
                pass
            if future.set_running_or_notify_cancel():
                future.set_result(number)

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    for number, future in enumerate(futures):
        looked_at = number
        for _ in range(number % 100 * 50):
            pass
        if way == "result":
            assert future.result(60) == number
        elif way == "callback":
            future.add_done_callback(called.append)
        elif way == "wait":
            assert not wait([future], 60).not_done
        elif way == "as_completed":
            assert [*as_completed([future], 60)] == [future]
        elif future.cancel():
            cancelled.append(future)
    ending.join(60)
    assert not ending.is_alive() and all(future.done() for future in futures)
    assert cancelled == [future for future in futures if future.cancelled()]
    if way == "callback":
        assert sorted(map(id, called)) == sorted(map(id, futures))  # each once
