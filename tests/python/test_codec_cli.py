"""The command ``pannier pickle``."""

import base64
import collections
import io
import json
import os
import pickle
import pickletools
import subprocess
import sys

import pytest

from pannier import codec
from pannier.cli import main


class Thing:
    pass


def run(*arguments, input=b"", **environment):
    """The command in a process of its own: exit code, output, errors."""
    done = subprocess.run(
        [sys.executable, "-m", "pannier", *map(str, arguments)],
        input=input, capture_output=True, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def said(capsys):
    """What the command prints here: said(arguments)."""

    def call(*arguments):
        assert main([str(one) for one in arguments]) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def stored(tmp_path):
    """stored(value) is a file with its pickle."""

    def store(value, protocol=5, **options):
        file = tmp_path / "value.pickle"
        file.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol, **options))
        return file

    return store


def test_dis(said, stored):
    file = stored([1, {"a": Thing()}])
    out, annotated = io.StringIO(), io.StringIO()
    pickletools.dis(file.read_bytes(), out)
    pickletools.dis(file.read_bytes(), annotated, annotate=30)
    assert said("pickle", "dis", file) == out.getvalue()
    assert said("pickle", "dis", "-a", file) == annotated.getvalue()
    opcodes = json.loads(said("pickle", "dis", "--json", file))
    assert [one["opcode"] for one in opcodes] == [op.name for op, _, _ in pickletools.genops(file.read_bytes())]


def test_optimize(said, stored, tmp_path):
    file, out = stored([Thing(), "x"], 2), tmp_path / "out"
    assert said("pickle", "optimize", file, "-o", out) == ""
    assert out.read_bytes() == pickletools.optimize(file.read_bytes())
    assert run("pickle", "optimize", "-", input=file.read_bytes())[:2] == (0, out.read_bytes())
    told = json.loads(said("pickle", "optimize", file, "--json"))
    assert (told["bytes"], told["optimized"]) == (file.stat().st_size, out.stat().st_size)


def test_globals(said, stored):
    file = stored([Thing(), collections.OrderedDict()])
    lines = said("pickle", "globals", file).splitlines()
    assert [line.split()[1:] for line in lines] == [
        ["STACK_GLOBAL", f"{__name__}.Thing", "code"],
        ["STACK_GLOBAL", "collections.OrderedDict", "data"],
    ]
    uses = json.loads(said("pickle", "globals", file, "--json"))
    assert [(one["module"], one["name"], one["safe"]) for one in uses] == [
        (__name__, "Thing", False), ("collections", "OrderedDict", True),
    ]  # fmt: skip


def test_show(said, stored):
    shared, thing = ["shared"], Thing()
    thing.me, thing.list = thing, shared
    file = stored({"a": shared, "b": shared, ("k", 1): thing, "c": 1.5, "n": b"\0"})
    assert said("pickle", "show", file) == f"""\
dict of 5
  'a': list of 1 #1
    'shared'
  'b': see #1
  key: tuple of 2
    'k'
    1
  value: NewObj #2
    callee: {__name__}.Thing
    state: dict of 2
      'me': see #2
      'list': see #1
  'c': 1.5
  'n': b'\\x00'
"""
    assert said("pickle", "show", "--depth", "1", file) == """\
dict of 5
  'a': list of 1 #1 ...
  'b': see #1
  key: tuple of 2 ...
  value: NewObj #2 ...
  'c': 1.5
  'n': b'\\x00'
"""
    file = stored([list(range(300)), "x" * 300, 10**6000, -1])
    text = said("pickle", "show", "--items", "3", "--width", "9", file)
    assert "    2\n    ... and 297 more\n  'xxxxxxxxx'... of 300\n  0x" in text
    assert "-1" not in text and "  ... and 1 more\n" in text


def test_show_json(said, stored):
    cycle = [None, True, 2**70, -0.5, float("nan"), "\ud800", b"b", bytearray(b"c"), 1j]
    cycle.append({"cycle": cycle})
    told = json.loads(said("pickle", "show", "--json", stored(cycle)))
    assert told["root"] == {"ref": 0} and told["protocol"] == 5
    root = told["nodes"][0]
    assert root["kind"] == "list"
    assert root["items"][:8] == [
        None, True, {"int": hex(2**70)}, -0.5, {"float": "nan"}, "\ud800",
        {"bytes": base64.b64encode(b"b").decode()}, {"bytearray": base64.b64encode(b"c").decode()},
    ]  # fmt: skip
    number, holder = (told["nodes"][one["ref"]] for one in root["items"][8:])
    assert number["kind"] == "Reduce" and told["nodes"][number["callee"]["ref"]]["name"] == "complex"
    assert holder["items"] == [["cycle", {"ref": 0}]]


def test_buffers_that_are_elsewhere(said, stored):
    file = stored([pickle.PickleBuffer(b"abc"), pickle.PickleBuffer(bytearray(3))], buffer_callback=lambda one: None)
    assert said("pickle", "show", file).splitlines()[1:] == ["  buffer 0, read-only", "  buffer 1, out of band"]
    assert json.loads(said("pickle", "show", "--json", file))["nodes"][0]["items"][1]["buffer"] == 1


def test_python_2(said, stored):
    file = stored(b"U\x02a\xff.")
    assert said("pickle", "show", file) == "Str8(b'a\\xff')\n"
    assert said("pickle", "show", "--encoding", "latin1", file) == "'aÿ'\n"


@pytest.mark.parametrize("command", ["show", "dis", "globals", "optimize"])
@pytest.mark.parametrize("data", [b"", b"N", b"\xff", b"]K\x01R.", b"\x80\x05cos\nsystem\n"])
def test_what_is_no_pickle(command, data):
    code, _, errors = run("pickle", command, "-", input=data)
    if command in ("optimize", "dis") and data.endswith(b"."):  # which do not mind what is called
        assert code == 0
        return
    assert code == 1 and errors.startswith("pannier: -: pickle, byte ") and errors.count("\n") == 1


def test_what_was_seen_before_the_error():
    code, out, _ = run("pickle", "globals", "-", input=b"cos\nsystem\n(")
    assert code == 1 and b"os.system" in out
    code, out, _ = run("pickle", "dis", "-", input=b"N]")
    assert code == 1 and out.splitlines()[0] == b"    0: N    NONE"


def test_wrong_usage(tmp_path):
    assert run()[0] == run("pickle")[0] == run("pickle", "show")[0] == run("pickle", "eat", "x")[0] == 2
    assert run("--help")[0] == run("pickle", "--help")[0] == run("--version")[0] == 0
    for missing in (tmp_path / "missing", tmp_path):
        code, out, errors = run("pickle", "show", missing)
        assert code == 1 and out == b"" and str(missing) in errors
    code, _, errors = run("pickle", "show", "--encoding", "klingon", "-", input=b"N.")
    assert code == 1 and "klingon" in errors


def test_colours(stored):
    pytest.importorskip("rich")
    file = stored([1, "a"])
    assert b"\x1b[" not in run("pickle", "show", file)[1]  # no terminal
    assert b"\x1b[" in run("pickle", "show", "--color", "always", file)[1]
    assert b"\x1b[" not in run("pickle", "show", file, NO_COLOR="1", FORCE_COLOR="")[1]
    code, out, errors = run("pickle", "show", "--color", "always", file, PYTHONPATH=str(hidden_rich(file.parent)))
    assert code == 1 and "pip install 'pannier[cli]'" in errors


def hidden_rich(folder):
    """A folder that makes `import rich` fail."""
    (folder / "rich.py").write_text("raise ImportError('hidden')")
    return folder


def test_a_reader_that_leaves(stored):
    file = stored(list(range(100_000)))
    process = subprocess.Popen(
        [sys.executable, "-m", "pannier", "pickle", "dis", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(100)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(30) == 0


def test_depth_is_no_obstacle(said, stored):
    file = stored(b"(" * 50_000 + b"l" * 50_000 + b".")
    assert said("pickle", "show", file).count("list of 1") == 21
    assert len(json.loads(said("pickle", "show", "--json", file))["nodes"]) == 50_000


def test_the_command_is_installed():
    from importlib.metadata import entry_points

    (command,) = entry_points(group="console_scripts", name="pannier")
    assert command.load() is main
    assert codec.__doc__
