"""Short runs of tests/chaos: processes in C++ and Python, killed, stopped and lied to; and workers of
an Executor."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = pathlib.Path(os.environ.get("PANNIER_BUILD_DIR", ROOT / "build/release")) / "tests/chaos"


def test_chaos():
    program = BUILT / "chaos_worker"
    assert program.exists(), f"no {program}: build the tests, or set PANNIER_BUILD_DIR"
    command = [sys.executable, ROOT / "tests/chaos/chaos.py", "--worker", program]
    done = subprocess.run([*command, "--seconds", "12"], capture_output=True, text=True, timeout=115)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert summary.startswith("chaos: seed ") and summary.endswith(" 0 violations"), summary


def test_chaos_of_workers():
    command = [sys.executable, ROOT / "tests/chaos/executor_chaos.py", "--seconds", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=115)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert summary.startswith("executor chaos: ") and summary.endswith(" 0 violations"), summary
