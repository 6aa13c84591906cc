"""``pannier pickle``: show, dis, globals, optimize."""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
from typing import Any

from .. import codec, trust
from . import tree
from .output import Printer, Segment

__all__ = ["CommandError", "add"]


class CommandError(Exception):
    """What the user is told; the exit code is 1."""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the commands to `parser`. Parsed options have the attribute `run`."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        one.add_argument("file", metavar="FILE", help="the pickle; - is standard input")
        one.add_argument("--json", action="store_true", help="for programs")
        one.add_argument(
            "--color",
            choices=("auto", "always", "never"),
            default="auto",
            help="colours need rich: pip install 'pannier[cli]'",
        )
        one.set_defaults(run=run)
        return one

    show = command("show", _show, "what a pickle holds, as a tree; nothing of it is run")
    show.add_argument("--depth", type=int, default=20, help="levels shown, 0: all (%(default)s)")
    show.add_argument(
        "--items", type=int, default=100, help="shown of each container, 0: all (%(default)s)"
    )
    show.add_argument(
        "--width", type=int, default=100, help="of one text or number, 0: all (%(default)s)"
    )
    show.add_argument("--encoding", help="of Python 2's 8-bit strings; default: they are kept")
    dis = command("dis", _dis, "the opcodes of a pickle, as pickletools prints them")
    dis.add_argument(
        "-a", "--annotate", action="store_true", help="say what each opcode does"
    )
    dis.add_argument("-l", "--indentlevel", type=int, default=4, help="for each mark (%(default)s)")
    command("globals", _globals, "the names that loading a pickle would look up")
    optimize = command("optimize", _optimize, "a smaller pickle of the same")
    optimize.add_argument("-o", "--output", metavar="FILE", help="default: standard output")


def _read(options: argparse.Namespace) -> bytes:
    if options.file == "-":
        return sys.stdin.buffer.read()
    return pathlib.Path(options.file).read_bytes()


def _dump(value: Any) -> None:
    json.dump(value, sys.stdout, ensure_ascii=True, indent=1)
    sys.stdout.write("\n")


def _failed(options: argparse.Namespace, error: Exception) -> CommandError:
    return CommandError(f"{options.file}: {error}")


def _note_rest(data: bytes, consumed: int) -> None:
    if consumed < len(data):
        print(f"pannier: {len(data) - consumed} bytes follow the pickle", file=sys.stderr)


def _show(options: argparse.Namespace) -> None:
    printer = Printer(options.color)
    data = _read(options)
    # Buffers that are out of band are elsewhere: shown by their number.
    try:
        opcodes = codec.dis(data, indentlevel=0)
    except (codec.UnpicklingError, codec.LimitExceeded) as error:
        opcodes = error.output or ""
    absent = [tree.AbsentBuffer() for _ in re.findall(r"(?m)^ *\d+: \\x97 ", opcodes)]
    try:
        document = codec.decode(data, buffers=absent, encoding=options.encoding)
        value = document.to_python()
    except (codec.UnpicklingError, codec.LimitExceeded) as error:
        raise _failed(options, error) from error
    if options.json:
        _dump({"protocol": document.protocol, "bytes": document.consumed, **tree.graph(value, absent)})
    else:
        limits = tree.Limits(options.depth, options.items, options.width)
        for line in tree.lines(value, absent, limits):
            printer.line(line)
    _note_rest(data, document.consumed)


def _dis(options: argparse.Namespace) -> None:
    printer = Printer(options.color)
    failure: Exception | None = None
    try:
        text = codec.dis(_read(options), 30 if options.annotate else 0, indentlevel=options.indentlevel)
    except (codec.UnpicklingError, codec.LimitExceeded) as error:
        text, failure = error.output or "", error
    if options.json:
        found = re.findall(r"(?m)^ *(\d+): (\S+) +(\w+)(?: +(.*))?$", text)
        _dump([
            {"offset": int(offset), "code": code, "opcode": opcode, "text": rest}
            for offset, code, opcode, rest in found
        ])  # fmt: skip
    else:
        for line in text.splitlines():
            printer.line(_opcode_segments(line))
    if failure is not None:
        sys.stdout.flush()
        raise _failed(options, failure)


def _opcode_segments(line: str) -> list[Segment]:
    match = re.match(r"( *\d+: )(\S+ +)(\w+)(.*)", line)
    if match is None:
        return [(line, "mark")]
    offset, code, opcode, rest = match.groups()
    return [(offset, "mark"), (code, "number"), (opcode, "kind"), (rest, "")]


def _globals(options: argparse.Namespace) -> None:
    printer = Printer(options.color)
    failure: Exception | None = None
    try:
        uses = codec.globals(_read(options))
    except (codec.UnpicklingError, codec.LimitExceeded) as error:
        uses, failure = error.output or [], error
    if options.json:
        _dump([use._asdict() | {"safe": _is_safe(use)} for use in uses])
    for use in () if options.json else uses:
        name = f"{use.module}.{use.name}" if use.module else f"extension code {use.extension}"
        printer.line([
            (f"{use.offset:8d}: ", "mark"),
            (f"{use.opcode:13s}", "kind"),
            (f"{_shown(name):50s} ", "name"),
            ("data", "good") if _is_safe(use) else ("code", "bad"),
        ])  # fmt: skip
    if failure is not None:
        sys.stdout.flush()
        raise _failed(options, failure)


def _is_safe(use: codec.GlobalUse) -> bool:
    return use.extension == 0 and trust.is_safe(use.module, use.name)


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _optimize(options: argparse.Namespace) -> None:
    data = _read(options)
    try:
        smaller = codec.optimize(data)
    except (codec.UnpicklingError, codec.LimitExceeded) as error:
        raise _failed(options, error) from error
    if options.output is not None:
        pathlib.Path(options.output).write_bytes(smaller)
    elif not options.json:
        if sys.stdout.isatty():
            raise CommandError("a pickle is not for a terminal: use -o FILE, or a pipe")
        sys.stdout.buffer.write(smaller)
    if options.json:
        _dump({"bytes": len(data), "optimized": len(smaller), "output": options.output})
