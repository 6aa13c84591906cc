"""Executor: what is documented of ProcessPoolExecutor, and what is ours beyond it."""

import concurrent.futures
import contextlib
import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from concurrent.futures import CancelledError, as_completed, wait
from concurrent.futures.process import BrokenProcessPool

import executor_children as far
import numpy as np
import pytest
from conftest import eventually, leases_out

import pannier


@pytest.fixture(scope="module", params=["fork", "forkserver"])
def method(request):
    multiprocessing.set_forkserver_preload(["numpy", "pannier", "children", "executor_children"])
    return request.param


@pytest.fixture(scope="module")
def shared(method):
    """One for the tests that do no harm."""
    with pannier.Executor(2, start_method=method) as executor:
        yield executor


def alive(pid):
    """False for a process that is gone, or dead and not reaped."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


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
    with pytest.raises(TimeoutError):
        got.extend(shared.map(far.sleep, [0, 0, 3], [1, 2, 3], timeout=1))
    assert shared.submit(abs, -1).result(60) == 1


def test_timeouts(shared):
    future = shared.submit(far.sleep, 0.5, "slept")
    with pytest.raises(TimeoutError):
        future.result(0.05)
    with pytest.raises(TimeoutError):
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


# ---- Cancelling and shutting down


def test_cancel(method):
    with pannier.Executor(1, start_method=method) as executor:
        executor.submit(abs, -1).result(60)
        running = executor.submit(far.sleep, 1, "ran")
        waiting = [executor.submit(far.sleep, 0, number) for number in range(3)]
        assert eventually(running.running) and not running.cancel()
        assert waiting[1].cancel() and waiting[1].cancelled()
        with pytest.raises(CancelledError):
            waiting[1].result(60)
        assert running.result(60) == "ran"
        assert waiting[0].result(60) == 0 and waiting[2].result(60) == 2


def test_shutdown(method):
    executor = pannier.Executor(2, start_method=method)
    futures = [executor.submit(far.sleep, 0.02, number) for number in range(10)]
    pids = {executor.submit(far.pid).result(60) for _ in range(4)}
    executor.shutdown()
    assert [future.result(0) for future in futures] == list(range(10))
    assert not any(map(alive, pids))
    executor.shutdown()  # again
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    with pytest.raises(RuntimeError):
        executor.map(abs, [1])
    pannier.Executor(2, start_method=method).shutdown()  # with nothing done


def test_shutdown_without_waiting(method):
    executor = pannier.Executor(1, start_method=method)
    pid = executor.submit(far.pid).result(60)
    futures = [executor.submit(far.sleep, 0.1, number) for number in range(5)]
    start = time.monotonic()
    executor.shutdown(wait=False)
    assert time.monotonic() - start < 0.4
    assert [future.result(60) for future in futures] == list(range(5))
    assert eventually(lambda: not alive(pid), 20)


def test_shutdown_that_cancels(method):
    executor = pannier.Executor(1, start_method=method)
    executor.submit(abs, -1).result(60)
    futures = [executor.submit(far.sleep, 0.2, number) for number in range(20)]
    assert eventually(futures[0].running)
    executor.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
    assert futures[0].result() == 0
    assert sum(future.cancelled() for future in futures) >= 15
    assert wait(futures, 5).not_done == set()


def test_a_dropped_executor(method):
    executor = pannier.Executor(1, start_method=method)
    pid = executor.submit(far.pid).result(60)
    futures = [executor.submit(far.sleep, 0.05, number) for number in range(4)]
    del executor
    gc.collect()
    assert [future.result(60) for future in futures] == list(range(4))
    assert eventually(lambda: not alive(pid), 20)


PROGRAM = """
    import os, sys, time
    import pannier

    def work(value):
        time.sleep(0.05)
        os.write(1, b"worked %d\\n" % value)
        return value

    if __name__ == "__main__":
        executor = pannier.Executor(2, start_method={method!r})
        futures = [executor.submit(work, number) for number in range(6)]
        if {wait}:
            print(sum(future.result() for future in futures), flush=True)
        print("ends", flush=True)
"""


@pytest.mark.parametrize("wait", [True, False])
def test_pending_calls_at_the_end_of_a_program(tmp_path, method, wait):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM.format(method=method, wait=wait)))
    ran = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0 and ran.stderr == ""
    lines = ran.stdout.split("\n")
    assert sorted(line for line in lines if line.startswith("worked")) == [
        f"worked {number}" for number in range(6)
    ]
    assert "ends" in lines and ("15" in lines) == wait


def test_functions_of_a_program_that_is_no_file():
    pytest.importorskip("cloudpickle")
    program = """
import pannier
def twice(value): return 2 * value
with pannier.Executor(1, start_method="forkserver") as executor:
    print(executor.submit(twice, 21).result())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout == "42\n", ran.stderr


def test_workers_end_with_their_program():
    program = textwrap.dedent("""
        import executor_children as far, pannier
        executor = pannier.Executor(2)
        print(*{executor.submit(far.pid).result() for _ in range(10)}, flush=True)
        executor.submit(far.sleep, 1000).result()
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(__file__),
    )
    try:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids and all(map(alive, pids))
    finally:
        parent.kill()
        parent.communicate()
    assert eventually(lambda: not any(map(alive, pids)), 20)


# ---- Settings


def test_initializers(method):
    with pannier.Executor(
        2, start_method=method, initializer=far.initialize, initargs=("set",)
    ) as executor:
        assert {executor.submit(far.get_initialized).result(60) for _ in range(10)} == {"set"}


def test_an_initializer_that_fails(method):
    executor = pannier.Executor(1, start_method=method, initializer=far.fail_to_initialize)
    future = executor.submit(abs, -1)
    with pytest.raises(BrokenProcessPool):
        future.result(60)
    with pytest.raises(BrokenProcessPool):
        executor.submit(abs, -1)
    executor.shutdown()


def test_wrong_settings():
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="max_workers"):
            pannier.Executor(wrong)
        with pytest.raises(ValueError, match="max_tasks_per_child"):
            pannier.Executor(1, max_tasks_per_child=wrong)
    with pytest.raises(TypeError):
        pannier.Executor(1, max_tasks_per_child="1")
    with pytest.raises(TypeError):
        pannier.Executor(1, initializer=1)
    with pytest.raises(ValueError, match="fork"):
        pannier.Executor(1, max_tasks_per_child=1, start_method="fork")
    with pytest.raises(ValueError, match="with a command"):
        pannier.Executor(1, command=["true"], start_method="fork")


def test_workers_that_end_after_some_calls():
    with pannier.Executor(1, max_tasks_per_child=3) as executor:
        pids = [executor.submit(far.pid).result(60) for _ in range(7)]
        assert pids[0] == pids[1] == pids[2] != pids[3]
        assert pids[3] == pids[4] == pids[5] != pids[6]
        assert eventually(lambda: not alive(pids[0]))
    with pannier.Executor(2, max_tasks_per_child=2) as executor:
        futures = [executor.submit(abs, -number) for number in range(9)]
        assert [future.result(60) for future in futures] == list(range(9))


# ---- Deaths


def test_a_dead_worker_breaks_the_executor(method):
    executor = pannier.Executor(2, start_method=method)
    executor.submit(abs, -1).result(60)
    waiting = [executor.submit(far.sleep, 5) for _ in range(6)]
    dying = executor.submit(far.die)
    waiting[0].cancel()
    os.kill(executor._workers._workers[0].process.pid, signal.SIGKILL)
    for future in [*waiting, dying]:
        if not future.cancelled():
            with pytest.raises(BrokenProcessPool):
                future.result(60)
    with pytest.raises(BrokenProcessPool):
        executor.submit(abs, -1)
    with pytest.raises(pannier.ConnectionLost):  # it is both
        executor.map(abs, [1])
    executor.shutdown()
    assert leases_out() == 0


def test_an_idle_worker_that_dies(method):
    executor = pannier.Executor(1, start_method=method)
    os.kill(executor.submit(far.pid).result(60), signal.SIGKILL)

    def broken():
        try:
            return executor.submit(abs, -1).exception(60) is not None
        except BrokenProcessPool:
            return True

    assert eventually(broken)
    executor.shutdown()


def test_workers_are_replaced():
    with pannier.Executor(2, replace=True) as executor:
        for _ in range(3):
            with pytest.raises(pannier.WorkerDied):
                executor.submit(far.kill_yourself).result(60)
        assert executor.submit(abs, -1).result(60) == 1


def test_calls_of_dead_workers_are_made_again(tmp_path):
    marker = tmp_path / "once"
    with pannier.Executor(1, replace=True, retries=1) as executor:
        executor.submit(abs, -1).result(60)
        future = executor.submit(_die_once, str(marker))
        others = [executor.submit(abs, -number) for number in range(5)]
        assert future.result(60) == "survived"
        assert [other.result(60) for other in others] == list(range(5))
        with pytest.raises(pannier.WorkerDied):
            executor.submit(far.die).result(60)


def _die_once(marker):
    if not os.path.exists(marker):
        with open(marker, "w"):
            os._exit(1)
    return "survived"


def test_killed_at_random_under_load():
    """Every future ends, none hangs, and what the dead had leased comes home."""
    rng = random.Random(5)
    array = pannier.ones(1 << 16)
    ended = {"ok": 0, "died": 0}
    with pannier.Executor(3, replace=True) as executor:
        futures = []
        for _ in range(6):
            for number in range(60):
                kind = rng.randrange(3)
                if kind == 0:
                    futures.append(executor.submit(far.double, array))
                elif kind == 1:
                    futures.append(executor.submit(far.sleep, 0.002, number))
                else:
                    futures.append(executor.submit(abs, -number))
            time.sleep(0.05)
            workers = [worker for worker in list(executor._workers._workers) if worker.ready]
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers).process.pid, signal.SIGKILL)
        for future in futures:
            error = future.exception(90)
            assert error is None or isinstance(error, pannier.WorkerDied), error
            ended["ok" if error is None else "died"] += 1
    assert ended["ok"] > 100
    del future, futures
    gc.collect()
    assert eventually(lambda: leases_out() == 0, 10)
    pannier.pool().wait(array, 10)


# ---- Programs that are not Python


@pytest.fixture
def worker_program():
    program = os.environ.get("PANNIER_TEST_WORKER", "")
    if not program:
        program = os.path.join(os.path.dirname(__file__), "worker_program.py")
        return [sys.executable, program]
    return [program]


def test_workers_of_another_program(worker_program):
    with pannier.Executor(2, command=worker_program) as executor:
        assert executor.call("scale", np.ones(3, np.float32), 2.0).tolist() == [2, 2, 2]
        futures = [executor.submit("scale", np.full(2, n, np.float32), 3.0) for n in range(50)]
        assert [future.result(60)[0] for future in futures] == [3 * n for n in range(50)]
        assert [r[0] for r in executor.map("scale", [np.ones(1)] * 3, [1.0, 2.0, 3.0])] == [1, 2, 3]
        with pytest.raises(pannier.UnknownMethod):
            executor.call("nothing")
        with pytest.raises(TypeError, match="by name"):
            executor.submit(abs, -1)
        pids = [worker.process.pid for worker in executor._workers._workers if worker.ready]
    assert not any(map(alive, pids))


def test_a_program_that_is_no_worker():
    executor = pannier.Executor(1, command=["true"])
    with pytest.raises(BrokenProcessPool, match="true"):
        executor.submit("scale").result(60)
    executor.shutdown()
