"""Executor: cancels, shutdown, settings, deaths of workers, and programs that are not Python."""

import contextlib
import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import CancelledError, wait
from concurrent.futures.process import BrokenProcessPool

import executor_children as far
import numpy as np
import pytest
from conftest import eventually, leases_out
from executor_far import alive, method

import pannier
from pannier._sent import LoneCall

__all__ = ["method"]


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


def test_shutdown_waits_for_a_result_that_is_being_unpickled():
    far.loading.clear()
    with pannier.Executor(1) as executor:
        future = executor.submit(far.SlowToLoad)
        waiting = threading.Thread(target=future.result)  # it receives, and unpickles
        waiting.start()
        assert far.loading.wait(60)
        executor.shutdown()
        assert future.done()
    waiting.join(60)


def test_shutdown_in_a_callback_does_not_wait():
    executor = pannier.Executor(2)
    pid = executor.submit(far.pid).result(60)
    futures = [executor.submit(far.sleep, 0.2 * number, number) for number in range(3)]
    futures[0].add_done_callback(lambda _: executor.shutdown())
    assert [future.result(60) for future in futures] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    assert eventually(lambda: not alive(pid), 20)


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
    os.kill(executor._workers.all[0].process.pid, signal.SIGKILL)
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
            workers = [worker for worker in list(executor._workers.all) if worker.ready]
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
        pids = [worker.process.pid for worker in executor._workers.all if worker.ready]
    assert not any(map(alive, pids))


def test_a_program_whose_answer_is_that_it_lost_a_connection():
    """Of its own, to somebody else: the worker lives and goes on."""
    program = os.path.join(os.path.dirname(__file__), "worker_program.py")
    with pannier.Executor(1, command=[sys.executable, program]) as executor:
        for _ in range(3):
            with pytest.raises(pannier.ConnectionLost, match="elsewhere") as error:
                executor.call("lose", "elsewhere", timeout=60)
            assert not isinstance(error.value, pannier.WorkerDied)
            assert executor.call("scale", np.ones(1), 2.0, timeout=60)[0] == 2


def test_a_program_that_is_no_worker():
    executor = pannier.Executor(1, command=["true"])
    with pytest.raises(BrokenProcessPool, match="true"):
        executor.submit("scale").result(60)
    executor.shutdown()


# ---- Who may not end an executor, and who must


@pytest.mark.parametrize("way", ["shutdown", "drop"])
def test_a_forked_child_leaves_the_workers_alone(way):
    executor = pannier.Executor(2, start_method="fork")
    future = executor.submit(far.sleep, 1, "done")
    assert eventually(future.running, 20)
    child = os.fork()
    if child == 0:
        try:
            try:
                executor.submit(abs, 1)
            except pannier.Forked:
                if way == "shutdown":
                    executor.shutdown()
                del executor
                gc.collect()
                os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert future.result(60) == "done"
    assert executor.submit(abs, -2).result(60) == 2
    executor.shutdown()


def test_an_executor_of_a_child_of_multiprocessing_that_ends(child):
    one = child(far.leave_an_executor)
    one.join(60)


def test_callbacks_of_cancelled_calls_may_wait_for_others():
    executor = pannier.Executor(1, start_method="fork")
    running = executor.submit(far.sleep, 0.5, "ran")
    waiting = [executor.submit(abs, number) for number in range(3)]
    assert eventually(running.running, 20)
    # On a thread that needs the executor meanwhile.
    seen = []

    def ask(_):
        thread = threading.Thread(target=lambda: seen.append((repr(executor), running.result(20))))
        thread.start()
        thread.join(20)

    waiting[0].add_done_callback(ask)
    executor.shutdown(cancel_futures=True)
    assert [result for _, result in seen] == ["ran"]
    assert all(future.cancelled() for future in waiting)


@pytest.mark.parametrize("replace", [True, False])
def test_a_call_that_could_not_be_sent_to_a_worker_that_is_gone(replace, monkeypatch):
    """What sends it may be slower than what sees the worker off."""
    with pannier.Executor(1, start_method="forkserver", replace=replace) as executor:
        pid = executor.submit(far.pid).result(60)
        workers = executor._workers
        start = LoneCall.start

        def start_late(self):
            monkeypatch.setattr(LoneCall, "start", start)
            os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: not workers.all, 20)
            return start(self)

        monkeypatch.setattr(LoneCall, "start", start_late)
        future = executor.submit(abs, -3)
        if replace:
            assert future.result(60) == 3
        else:
            with pytest.raises(pannier.WorkerDied):
                future.result(60)


def test_arguments_larger_than_the_pool():
    with pannier.Pool(1 << 20) as pool:
        with pannier.Executor(1, start_method="fork", pool=pool) as executor:
            future = executor.submit(len, np.zeros(8 << 20, np.uint8))
            with pytest.raises(pannier.PoolExhausted, match="more than its quota"):
                future.result(20)
            assert executor.submit(len, b"12").result(60) == 2


def test_a_program_that_never_listens(monkeypatch):
    monkeypatch.setattr(pannier._processes, "START_SECONDS", 0.5)
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pannier.Executor(1, command=program) as executor:
        with pytest.raises(pannier.WorkerDied, match="before it listened"):
            executor.submit("any").result(30)
