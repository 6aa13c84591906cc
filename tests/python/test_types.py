"""The type stub of the compiled part is what it is, and the package passes mypy --strict."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "python/pannier"


def shape(source):
    """What a stub says, without docstrings and imports. The buffer protocol has methods from
    Python 3.12 on alone, and stands in the base class."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            node.body = [
                statement
                for statement in node.body
                if not isinstance(statement, (ast.Import, ast.ImportFrom))
                and not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
                and getattr(statement, "name", "") not in ("__buffer__", "__release_buffer__")
            ]
    return ast.dump(tree, indent=1).splitlines()


def test_the_stub(tmp_path):
    nanobind = pytest.importorskip("nanobind")
    if not nanobind.__version__.startswith("3."):
        pytest.skip("the stub is as nanobind 3 writes it")
    stub = tmp_path / "_core.pyi"
    subprocess.run(
        [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "pannier._core", "-o", stub], check=True
    )
    assert shape(stub.read_text()) == shape((PACKAGE / "_core.pyi").read_text()), (
        "python -m nanobind.stubgen -m pannier._core -o python/pannier/_core.pyi"
    )


PROGRAM = """
import asyncio
import numpy as np
import pannier

def produce(address: str) -> None:
    frame = pannier.empty((480, 640), np.uint8, "F", timeout=None)
    pool = pannier.Pool(1 << 20, name="mine")
    with pannier.connect(address, pool=pool, allow=[("module", "Name"), dict]) as connection:
        connection.send({"frame": frame}, timeout=1.0)
        message: pannier.Message = connection.recv_message()
        connection.send_message(message)
        size: int = connection.info.pid + connection.stats().copied_bytes + pool.stats().quota
        print(message.load(), size, connection.poll(), connection.fileno())

server = pannier.Server("ipc:///x", insecure=True)

@server.method
def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return image

@server.method(name="other")
def named() -> int:
    return 1

reveal_type(blur)
reveal_type(named)
with server, pannier.Client("ipc:///x", timeout=1) as client:
    client.call("blur", np.zeros(3), 2.0, timeout=None)
    client.blur(np.zeros(3), 2.0)
try:
    pannier.loads(b"", buffers=[bytearray()])
except pannier.PoolExhausted as error:
    memory: MemoryError = error
"""


def mypy(*arguments):
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments], capture_output=True, text=True, timeout=100
    )
    return done.returncode, done.stdout + done.stderr


def test_the_package(tmp_path):
    code, said = mypy("--strict", f"--cache-dir={tmp_path}", PACKAGE)
    assert code == 0, said


def test_a_program(tmp_path, monkeypatch):
    """What users write type-checks, and decorated functions keep their types."""
    monkeypatch.setenv("MYPYPATH", str(PACKAGE.parent))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    code, said = mypy(f"--cache-dir={tmp_path}", program)
    assert code == 0, said
    assert said.count("Revealed type") == 2
    first, second = said.splitlines()[:2]
    assert "(image: " in first and ", sigma: " in first and "def () -> " in second
    program.write_text(PROGRAM + "\npannier.empty('3')\npannier.connect(3)\nclient.call(4)\n")
    code, said = mypy(f"--cache-dir={tmp_path}", program)
    assert code == 1 and said.count("error:") == 3, said
