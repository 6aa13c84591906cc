"""The Python examples, run as they are; the hello ones also against those in C++."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
BUILT = pathlib.Path(os.environ.get("PANNIER_BUILD_DIR", ROOT / "build/release")) / "examples"


def command(name):
    """How to run an example, in Python or C++; skips the test if it is not built."""
    if name.endswith(".py"):
        return [sys.executable, EXAMPLES / name]
    if not (BUILT / name).exists():
        pytest.skip(f"no {name} in {BUILT}: build the examples, or set PANNIER_BUILD_DIR")
    return [BUILT / name]


@pytest.fixture
def start():
    started = []

    def start(name, *arguments):
        started.append(
            subprocess.Popen(
                [*command(name), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def output(process):
    out, errors = process.communicate(timeout=30)
    assert (errors, process.returncode) == ("", 0)
    return out


@pytest.mark.parametrize("server", ["hello_server.py", "hello_server"])
@pytest.mark.parametrize("client", ["hello_client.py", "hello_client"])
def test_hello(start, ipc, server, client):
    start(server, ipc)
    assert [float(word) for word in output(start(client, ipc)).split()] == [2, 4, 6]


def test_hello_is_short():
    for name in ("hello_server.py", "hello_client.py"):
        assert len((EXAMPLES / name).read_text().splitlines()) <= 8


def test_frames(start, ipc):
    receiver = start("frames_receiver.py", ipc)
    sender = start("frames_sender.py", ipc, "20")
    assert output(sender) == "sent 20 frames, copied 0 bytes\n"
    lines = output(receiver).splitlines()
    assert lines == [
        f"frame {number}: (1080, 1920, 3), the bar is at {number * 16}" for number in range(20)
    ]


def test_workers(start):
    assert output(start("workers.py")).split() == [str(number) for number in range(8)]


def test_look_inside(start):
    shown, names, loaded, refused = output(start("look_inside.py")).splitlines()
    assert "Reduce(Global('datetime', 'date')" in shown
    assert names == "['datetime.date']"
    assert loaded == "{'when': datetime.date(2026, 11, 22), 'levels': [1, 2.5, None]}"
    assert refused == "os system 0"
