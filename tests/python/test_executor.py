"""Executor: what is documented of ProcessPoolExecutor: submit, map, failures, arrays."""

import concurrent.futures
import gc
import io
import pickle
import pickletools
import threading
import types
import weakref
from concurrent.futures import as_completed, wait

import executor_children as far
import numpy as np
import pytest
from conftest import eventually, leases_out
from executor_far import method

import pannier
from pannier._core import dumps_call

__all__ = ["method"]


@pytest.fixture(scope="module")
def shared(method):
    """One for the tests that do no harm."""
    with pannier.Executor(2, start_method=method) as executor:
        yield executor


# ---- submit and map


def test_is_an_executor(shared):
    assert isinstance(shared, concurrent.futures.Executor)
    future = shared.submit(pow, 2, 8)
    assert isinstance(future, concurrent.futures.Future) and future.result(60) == 256
    assert shared.submit(far.add, 1, right=5).result(60) == 6
    assert shared.call(far.add, 1, right=5) == 6
    assert shared.submit(far.mul, left=3, right=4).result(60) == 12  # any keywords
    assert "2 workers" in repr(shared)


def test_many(shared):
    futures = [shared.submit(abs, -number) for number in range(2000)]
    assert [future.result(60) for future in futures] == list(range(2000))
    assert {future.result() for future in as_completed(futures, 60)} == set(range(2000))
    assert wait(futures, 60).not_done == set()


def test_map(shared):
    assert list(shared.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(shared.map(pow, range(10), range(10), chunksize=3)) == list(
        map(pow, range(10), range(10))
    )
    assert list(shared.map(abs, [], chunksize=3)) == []
    results = shared.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert next(results) == (0, 1) and next(results) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(ValueError, match="chunksize"):
        shared.map(abs, [1], chunksize=0)
    got = []
    with pytest.raises(concurrent.futures.TimeoutError):
        got.extend(shared.map(far.sleep, [0, 0, 3], [1, 2, 3], timeout=1))
    assert shared.submit(abs, -1).result(60) == 1


def test_timeouts(shared):
    future = shared.submit(far.sleep, 0.5, "slept")
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.05)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(0.05)
    assert wait([future], 0.05).not_done == {future}
    assert future.result(60) == "slept" and future.exception() is None


def test_callbacks(shared):
    called = []
    future = shared.submit(abs, -1)
    future.add_done_callback(called.append)
    assert eventually(lambda: called == [future], 20)
    future.add_done_callback(called.append)  # done: at once
    assert called == [future, future]


def test_wait_for_the_first(method):
    with pannier.Executor(2, start_method=method) as executor:
        slow, fast = executor.submit(far.sleep, 1), executor.submit(far.sleep, 0)
        done, _ = wait([slow, fast], 60, return_when=concurrent.futures.FIRST_COMPLETED)
        assert fast in done
        failing = executor.submit(far.fail, "x")
        done, _ = wait([slow, failing], 60, return_when=concurrent.futures.FIRST_EXCEPTION)
        assert failing in done
        slow.result(60)


def test_no_call_waits_behind_a_long_one(method, tmp_path):
    """Short calls are sent ahead of their turn, and are taken back where they would wait."""
    gate = tmp_path / "gate"
    with pannier.Executor(2, start_method=method) as executor:
        for future in [executor.submit(abs, -1) for _ in range(500)]:
            future.result(60)  # calls are known to be short
        futures = []
        for number in range(400):
            if number % 200 == 50:
                futures.append(executor.submit(far.wait_for, str(gate)))
            futures.append(executor.submit(abs, -number))
        blocked = futures.pop(50 + 200 + 1), futures.pop(50)
        # One worker is held up, perhaps both; the first to go on does the other's calls too.
        gate.write_text("1")
        assert [future.result(60) for future in futures] == list(range(400))
        assert [future.result(60) for future in blocked] == ["waited"] * 2
        gate.unlink()
        held = executor.submit(far.wait_for, str(gate))
        futures = [executor.submit(abs, -number) for number in range(400)]
        assert [future.result(60) for future in futures] == list(range(400))
        assert not held.done()
        gate.write_text("1")
        assert held.result(60) == "waited"


def test_answers_do_not_wait_for_a_long_call(method, tmp_path):
    """One that waits for what the caller does with the answer of one before it, too."""
    gate = tmp_path / "gate"
    with pannier.Executor(1, start_method=method) as executor:
        for future in [executor.submit(abs, -1) for _ in range(500)]:
            future.result(60)
        futures = [executor.submit(abs, -number) for number in range(50)]
        held = executor.submit(far.wait_for, str(gate))
        assert [future.result(60) for future in futures] == list(range(50))
        gate.write_text("1")
        assert held.result(60) == "waited"


def test_pickles_of_calls():
    """What names a function is written by hand: as pickle.dumps would have it, or not at all."""
    shared = [1, "a", (2, 2.5)]
    for function in (abs, int, np.zeros, np.ndarray, far.add, far.Refuses, test_map):
        for args in ((), (-1,), (shared, shared, "x" * 300, b"y" * 5000), tuple(range(50))):
            stream = dumps_call(function, args)
            call = pickle.loads(stream)
            assert call == (function, args, {}) and call[0] is function
            if len(args) == 4:
                assert call[1][0] is call[1][1]  # the memo counts on
            pickletools.dis(stream, out=io.StringIO())
    moved = types.FunctionType(far.add.__code__, {}, "add")
    moved.__module__ = far.__name__  # it is another of that name
    nowhere = types.FunctionType(far.add.__code__, {}, "add")
    nowhere.__module__ = None
    lines = types.FunctionType(far.add.__code__, {}, "a\nb")
    lines.__module__ = far.__name__
    for function in (moved, nowhere, lines, lambda: 0, [].append, far.Refuses().__reduce__, 5, None):
        assert dumps_call(function, ()) is None
    for args in ((np.zeros(3),), (far.Refuses(),), (bytes(1 << 20),), ([[[[[[[[[1]]]]]]]]],)):
        assert dumps_call(abs, args) is None
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pannier.dumps((moved, ()))


# ---- Failures of one call


def test_exceptions_with_remote_tracebacks(shared):
    future = shared.submit(far.fail, "on purpose")
    with pytest.raises(RuntimeError, match="on purpose") as error:
        future.result(60)
    assert type(error.value.__cause__) is pannier.errors.RemoteTraceback
    assert "raise RuntimeError(message)  # some comment" in str(error.value.__cause__)
    assert shared.submit(far.leave, 7).exception(60).code == 7
    assert shared.submit(abs, -1).result(60) == 1


def test_what_does_not_pickle(shared):
    assert isinstance(shared.submit(far.add, far.Refuses()).exception(60), ValueError)
    assert isinstance(shared.submit(far.add, threading.Lock()).exception(60), TypeError)
    with pytest.raises(TypeError, match="lock"):
        shared.submit(far.lock).result(60)
    with pytest.raises(RuntimeError, match="loaded"):
        shared.submit(far.add, far.Unloadable()).result(60)  # there
    with pytest.raises(RuntimeError, match="loaded"):
        shared.submit(far.unloadable).result(60)  # here
    assert shared.submit(abs, -1).result(60) == 1


def test_lambdas_and_closures(shared):
    pytest.importorskip("cloudpickle")
    offset = np.arange(3)

    def closure(value):
        return value + offset

    class Local(Exception):
        pass

    def fail():
        raise Local("from a class of a function")

    assert shared.submit(lambda value: value * 2, 21).result(60) == 42
    assert list(shared.map(lambda value: value * 2, range(3))) == [0, 2, 4]
    assert list(shared.map(lambda value: value * 2, range(5), chunksize=2)) == [0, 2, 4, 6, 8]
    assert (shared.submit(closure, 1).result(60) == offset + 1).all()
    assert shared.submit(lambda: lambda: 5).result(60)() == 5
    assert "from a class" in str(shared.submit(fail).exception(60))


def test_arguments_are_released(shared):
    class Big:
        pass

    array = np.ones(100_000)
    kept = weakref.ref(array)
    assert shared.submit(np.sum, array).result(60) == 100_000
    del array
    assert eventually(lambda: gc.collect() >= 0 and kept() is None)
    future = shared.submit(np.ones, 1000)
    result = weakref.ref(future.result(60))
    del future
    assert eventually(lambda: gc.collect() >= 0 and result() is None)


# ---- Arrays


def test_arrays_travel_by_lease(shared):
    array = pannier.ones((512, 1024))
    results = [future.result(60) for future in [shared.submit(far.double, array) for _ in range(8)]]
    assert all((result == 2).all() and result.flags.writeable for result in results)
    assert shared.submit(far.where_is_writeable, array).result(60) == (True, float(array.size))
    pannier.pool().wait(array, 10)
    del results
    assert eventually(lambda: leases_out() == 0)
