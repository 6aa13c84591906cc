"""The command ``pannier``, also ``python -m pannier``.

    pannier pickle show FILE        what a pickle holds, as a tree; nothing of it is run
    pannier pickle dis FILE         its opcodes
    pannier pickle globals FILE     the names it would look up
    pannier pickle optimize FILE    a smaller pickle of the same

Exit codes: 0, 1 for input that cannot be read, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from . import pickle_commands

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pannier", description="Tools of pannier. None of them runs what it looks at."
    )
    parser.add_argument("--version", action="version", version=f"pannier {__version__}")
    topics = parser.add_subparsers(metavar="TOPIC", required=True)
    pickle_commands.add(topics.add_parser("pickle", help="look at pickles without loading them"))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code. `arguments` without the program's name."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        print("pannier: out of memory", file=sys.stderr)
        return 1
    except (OSError, ValueError, LookupError, pickle_commands.CommandError) as error:
        print(f"pannier: {error}", file=sys.stderr)
        return 1
