"""What the demo shows: the table and the pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from frames import Frame
from measure import Outcome
from ways import WORKERS

OVERVIEW = 1024  # pixels, of the longer side


def mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"


def table(outcomes: Sequence[Outcome]) -> Table:
    result = Table(title="Frames to two workers and their results back", title_justify="left")
    for header in ("way", "frames", "crossed", "copied", "seconds", "MB/s", "kernels", "outside"):
        result.add_column(header, justify="left" if header == "way" else "right", no_wrap=True)
    for each in outcomes:
        # Without statistics: the system's own copies into and out of a socket or pipe.
        copied = f"> {mebibytes(2 * each.crossed)}"
        if each.copied is not None:
            copied = f"{each.copied} B" if each.copied < 2**20 else mebibytes(each.copied)
        result.add_row(
            each.way,
            str(each.frames),
            mebibytes(each.crossed),
            copied,
            f"{each.seconds:.2f}",
            f"{each.crossed / each.seconds / 1e6:,.0f}",
            f"{each.kernel_seconds / WORKERS / each.seconds:.0%}",
            f"{each.outside * 1e3:.1f} ms",
        )
    return result


def explain(console: Console, outcomes: Sequence[Outcome]) -> None:
    lines = [
        "crossed: pixels to the workers and back.   kernels: their share of what two processors "
        "could do in that time.",
        "outside: time of a call outside of its kernel, one frame alone, median.",
    ]
    if any(each.copied is not None for each in outcomes):
        lines.append(
            "copied: pannier's from the statistics of all three processes, warm-up included"
            + ("; the others'," if any(each.copied is None for each in outcomes) else ".")
        )
    if any(each.copied is None for each in outcomes):
        lines.append(
            ("" if len(lines) == 3 else "copied: ")
            + "at least into the system's socket or pipe and out of it."
        )
    for line in lines:
        console.print(line, style="dim", highlight=False)


def grey_or_colour(frame: Frame, shade: np.ndarray | None = None) -> np.ndarray:
    """The tile of a frame as (height, width, 3) of uint8; an elevation model in map colours."""
    height, width = frame.tile
    pixels = frame.pixels[:height, :width]
    if frame.kernel == "edges":
        pixels = pixels if shade is None else shade[:height, :width]
        return np.array(pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, -1))
    finite = pixels[np.isfinite(pixels)].astype(np.float64)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    colours = matplotlib.colormaps["gist_earth"]
    heights = (pixels.astype(np.float64) - low) / max(high - low, 1e-9) * 0.7 + 0.2
    picture = colours(heights)[..., :3]
    if shade is not None:
        picture = picture * (0.3 + 0.9 * shade[:height, :width, None] / 255.0)
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)


def save_pictures(
    frames: Sequence[Frame], results: dict[str, np.ndarray], folder: pathlib.Path
) -> list[pathlib.Path]:
    """Of each frame that has a result: a tile before and after, and the result as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for frame in frames:
        if frame.name not in results:
            continue
        result = results[frame.name]
        before, after = grey_or_colour(frame), grey_or_colour(frame, result)
        gap = np.full((len(before), 8, 3), 255, np.uint8)
        paths.append(folder / f"{frame.name}.png")
        Image.fromarray(np.concatenate([before, gap, after], axis=1)).save(paths[-1])
        whole = Image.fromarray(result[..., 0] if result.shape[2:] == (1,) else result)
        whole.thumbnail((OVERVIEW, OVERVIEW), reducing_gap=2.0)
        paths.append(folder / f"{frame.name}-frame.png")
        whole.save(paths[-1])
    return paths


def verdict(console: Console, outcomes: Sequence[Outcome]) -> int:
    """Says in one line whether all is right, after a line for each thing that is not; 0 or 1."""
    wrong = [line for each in outcomes for line in each.wrong]
    wrong += [f"{each.way}: {each.leases} leases are still out" for each in outcomes if each.leases]
    wrong += [
        f"{each.way}: {each.copied} bytes were copied"
        + (f"; {each.why_copied}" if each.why_copied else "")
        for each in outcomes
        if each.copied
    ]
    for line in wrong:
        console.print(line, style="bold red", highlight=False, soft_wrap=True)
    frames = sum(each.frames for each in outcomes)
    if wrong:
        console.print(f"FAILED: {len(wrong)} of these in {frames} frames", style="bold red")
        return 1
    line = f"OK: all {frames} results equal NumPy's"
    if any(each.leases is not None for each in outcomes):
        line += ", the pools hold 0 leases"
    console.print(line, style="bold green", highlight=False)
    return 0
