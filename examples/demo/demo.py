"""Two kernels over large frames, worked by two processes in three ways.

Frames of an elevation model and of a photograph go to two workers, which shade the relief of
the one and find the edges of the other; the results come back and each is compared with NumPy.
First with pannier and workers in C++, then with multiprocessing.Pool and with pyzmq, whose
workers are Python processes that call the same C++ kernels.

Exit code: 0 if all results are right, pannier copied nothing and none of its buffers is still
leased; 1 if not, or if a worker failed; 2 if the arguments are wrong.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("inputs", nargs="*", type=pathlib.Path, metavar="INPUT",
        help="images, or .npy and .npz files of an elevation model (two dimensions) or an image "
        "(uint8); default: a model and a photograph that ship inside matplotlib")  # fmt: skip
    add("--frames", type=int, default=64, metavar="N", help="per way (default: %(default)s)")
    add("--size", type=float, default=32, metavar="MIB",
        help="least size of a frame (default: %(default)s)")  # fmt: skip
    add("--out", type=pathlib.Path, default=pathlib.Path("build/demo"), metavar="DIR",
        help="where the pictures go (default: %(default)s)")  # fmt: skip
    add("--only", choices=("pannier", "pool", "pyzmq"), action="append",
        help="this way alone; may be given twice")  # fmt: skip
    add("--workers", type=pathlib.Path, default=ROOT / "build/release/examples", metavar="DIR",
        help="where demo_worker and the module demo_kernels are (default: %(default)s)")  # fmt: skip
    options = parser.parse_args(argv)
    if options.frames < 1:
        parser.error("--frames must be at least 1")
    if not 0.5 <= options.size <= 512:
        # The results of smaller ones may be so small that they travel inside the reply.
        parser.error("--size must be 0.5 to 512")
    for path in options.inputs:
        if not path.is_file():
            parser.error(f"no such file: {path}")
    options.only = options.only or ["pannier", "pool", "pyzmq"]
    return options


def find(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    for path in sorted(folder.rglob(pattern)):
        if path.is_file():
            return path
    sys.exit(f"demo: no {pattern} in {folder}: build the examples (`make demo`) or give --workers")


def ways(options: argparse.Namespace) -> list[Callable]:
    """How to start each way that was asked for."""
    from ways import PannierWay, PoolWay, ZmqWay

    starters: list[Callable] = []
    if "pannier" in options.only:
        program = find(options.workers, "demo_worker")
        starters.append(lambda: PannierWay(program))
    if {"pool", "pyzmq"} & set(options.only):
        # The processes that they spawn inherit the path.
        sys.path.insert(1, str(find(options.workers, "demo_kernels*.so").parent))
    if "pool" in options.only:
        starters.append(PoolWay)
    if "pyzmq" in options.only:
        starters.append(ZmqWay)
    return starters


def demo(options: argparse.Namespace) -> int:
    import numpy as np
    import pannier
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    import frames as source
    import reference
    import report
    from measure import measure
    from ways import IN_FLIGHT, WORKERS, WorkerFailed

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    try:
        paths = options.inputs or source.default_inputs()
        frames = source.make_frames(paths, round(options.size * 2**20), pannier.empty)
    except (OSError, ValueError, pannier.PoolExhausted) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    starters = ways(options)
    console.print(
        f"{len(frames)} different frames of {options.size:g} MiB, of "
        f"{', '.join(path.name for path in paths)}\n{WORKERS} workers, {IN_FLIGHT} frames in flight to "
        f"each; {len(os.sched_getaffinity(0))} processors",
        highlight=False, soft_wrap=True,
    )

    outcomes = []
    pictures: dict[str, np.ndarray] = {}
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("NumPy reference", total=len(frames))
        for frame in frames:
            frame.expected = reference.KERNELS[frame.kernel](frame.pixels, frame.parameter)
            progress.advance(task)
        for start in starters:
            task = progress.add_task("starting", total=options.frames)
            try:
                with start() as way:
                    progress.update(task, description=way.name)
                    outcome, results = measure(
                        way, frames, options.frames, lambda: progress.advance(task)
                    )
            except (WorkerFailed, pannier.Error) as error:
                progress.stop()
                print(f"demo: {error}", file=sys.stderr)
                return 1
            outcomes.append(outcome)
            pictures = pictures or results

    console.print(report.table(outcomes))
    report.explain(console, outcomes)
    saved = report.save_pictures(frames, pictures, options.out)
    console.print(f"{len(saved)} pictures: {options.out}/*.png", highlight=False, soft_wrap=True)
    return report.verdict(console, outcomes)


if __name__ == "__main__":
    try:
        sys.exit(demo(parse(None)))
    except ImportError as error:
        sys.exit(f"demo: {error}; `make demo` installs what is needed")
    except KeyboardInterrupt:
        sys.exit(130)
