"""Text with colours, where they are wanted, the terminal shows them and rich is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Printer", "Segment"]

# A piece of a line and its style, of those below; "" for plain text.
Segment = tuple[str, str]

_STYLES = {
    "kind": "bold cyan",
    "name": "bold yellow",
    "text": "green",
    "number": "magenta",
    "mark": "dim",
    "bad": "bold red",
    "good": "green",
}


class Printer:
    """Prints lines of segments to standard output.

    `color` is "auto" (as rich judges the terminal, NO_COLOR and the like), "always" or "never".
    Raises ValueError for "always" where rich is missing; "auto" is plain text there.
    """

    def __init__(self, color: str) -> None:
        self._console: Console | None = None
        if color == "never":
            return
        try:
            from rich.console import Console
        except ImportError:
            if color == "always":
                raise ValueError("colours need rich: pip install 'pannier[cli]'") from None
            return
        console = Console(
            file=sys.stdout, force_terminal=True if color == "always" else None, highlight=False
        )
        if console.is_terminal and (color == "always" or not console.no_color):
            self._console = console

    def line(self, segments: Iterable[Segment]) -> None:
        """Prints the segments, and a line's end. What is not printable is escaped."""
        if self._console is None:
            sys.stdout.write("".join(_encodable(text) for text, _ in segments) + "\n")
            return
        from rich.text import Text

        text = Text()
        for piece, style in segments:
            text.append(_encodable(piece), _STYLES.get(style))
        self._console.print(text, soft_wrap=True)


def _encodable(text: str) -> str:
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
