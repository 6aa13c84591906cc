"""What the demo sends: frames tiled from real inputs; and what must come back: NumPy's answer."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

SIGMA = 2.0  # deviation of the blur before the edges, in pixels

# A result may differ by one grey level. The kernels and NumPy do the same float32 operations in
# the same order, so mostly they agree in every bit; but a compiler for a processor with fused
# multiply-add may use it, which moves a value by about 1e-5 levels, and where that value lies at
# the middle between two levels the two round apart. So few pixels may differ, none by more.
TOLERANCE = 1
MOST_DIFFERING = 1e-3  # of a result's pixels

EmptyArray = Callable[[tuple[int, ...], np.dtype], np.ndarray]


@dataclasses.dataclass
class Frame:
    name: str
    kernel: str  # "hillshade" or "edges"
    pixels: np.ndarray
    parameter: float  # hillshade: the distance between cells; edges: the blur's deviation
    tile: tuple[int, int]  # height and width of one tile, in pixels
    expected: np.ndarray | None = None

    def difference(self, result: np.ndarray) -> str | None:
        """What is wrong with a result, or None."""
        expected = self.expected
        if result.shape != expected.shape or result.dtype != expected.dtype:
            return f"is {result.dtype}{result.shape}, not {expected.dtype}{expected.shape}"
        if np.array_equal(result, expected):
            return None
        worst = differing = 0
        for rows in bands(len(expected)):
            off = np.abs(result[rows].astype(np.int16) - expected[rows])
            worst = max(worst, int(off.max()))
            differing += int(np.count_nonzero(off))
        if worst > TOLERANCE or differing > MOST_DIFFERING * expected.size:
            return f"differs from NumPy's in {differing} of {expected.size} pixels, by up to {worst} levels"
        return None


def bands(height: int, rows: int = 64) -> list[slice]:
    """The rows in bands that stay in the processor's cache."""
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def default_inputs() -> list[pathlib.Path]:
    """An elevation model and a photograph that ship inside matplotlib."""
    from matplotlib import cbook

    return [
        pathlib.Path(cbook.get_sample_data(name, asfileobj=False))
        for name in ("jacksboro_fault_dem.npz", "grace_hopper.jpg")
    ]


def read_input(path: pathlib.Path) -> np.ndarray:
    """An image as uint8 (height, width, channels); an elevation model as int16, float32 or float64.

    Of an .npz the largest array counts. An .npy or .npz of uint8 is an image, any other
    two-dimensional array of real numbers is an elevation model.
    """
    if path.suffix in (".npy", ".npz"):
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        elif loaded.files:
            array = max((loaded[name] for name in loaded.files), key=lambda each: each.size)
        else:
            raise ValueError(f"{path} holds no array")
    else:
        with Image.open(path) as image:
            array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    if array.dtype == np.uint8 and array.ndim in (2, 3) and array.size:
        return np.ascontiguousarray(array.reshape(*array.shape[:2], -1))
    if array.dtype.kind not in "iuf" or array.ndim != 2 or not array.size:
        raise ValueError(
            f"{path} holds {array.dtype}{array.shape}; wanted is an elevation model (real numbers, two "
            "dimensions) or an image (uint8, two or three)"
        )
    kept = array.dtype in (np.int16, np.float32, np.float64) and array.dtype.isnative
    return np.ascontiguousarray(array, None if kept else np.float32)


def cell_size(elevation: np.ndarray) -> float:
    """A distance between cells at which the relief is neither flat nor all cliffs."""
    steps = np.abs(np.diff(elevation.astype(np.float64), axis=0))
    steps = steps[np.isfinite(steps)]
    mean = float(steps.mean()) if steps.size else 0.0
    return 2 * mean if mean > 0 else 1.0


def tiled(tile: np.ndarray, size: int, empty: EmptyArray) -> np.ndarray:
    """At least `size` bytes, about square, of a tile and its mirror images."""
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    tile = np.concatenate([tile, tile[::-1]], axis=0)
    channels = tile.shape[2:]
    pixels = -(-size // (tile.itemsize * math.prod(channels)))
    height = math.isqrt(pixels - 1) + 1
    width = -(-pixels // height)
    frame = empty((height, width, *channels), tile.dtype)
    for y in range(0, height, tile.shape[0]):
        for x in range(0, width, tile.shape[1]):
            part = frame[y : y + tile.shape[0], x : x + tile.shape[1]]
            part[...] = tile[: part.shape[0], : part.shape[1]]
    return frame


def make_frames(paths: Sequence[pathlib.Path], size: int, empty: EmptyArray) -> list[Frame]:
    """Two frames of each input: as it is, and upside down, so that no two neighbours are the same."""
    tiles = [read_input(path) for path in paths]
    frames = []
    for flipped in (False, True):
        for path, tile in zip(paths, tiles):
            elevation = tile.dtype != np.uint8
            frames.append(
                Frame(
                    name=path.stem + ("-flipped" if flipped else ""),
                    kernel="hillshade" if elevation else "edges",
                    pixels=tiled(tile[::-1] if flipped else tile, size, empty),
                    parameter=cell_size(tile) if elevation else SIGMA,
                    tile=tile.shape[:2],
                )
            )
    return frames
