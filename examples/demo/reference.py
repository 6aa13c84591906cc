"""The two kernels in NumPy: what kernels.cc is checked against.

Same definitions, float32 throughout, the nearest pixel beyond the edges. Worked in bands of
rows, so that the temporaries stay small however large the frame.
"""

from __future__ import annotations

import math

import numpy as np

BAND = 64  # rows


def to_byte(values: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        cut = np.where(values > 0, np.minimum(values, np.float32(255)), np.float32(0))
    return (cut + np.float32(0.5)).astype(np.uint8)


def neighbours(rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """West, east, north and south sums (weights 1, 2, 1) of rows that have a margin of one."""
    two = np.float32(2)
    above, here, below = rows[:-2], rows[1:-1], rows[2:]
    return (
        above[:, :-2] + two * here[:, :-2] + below[:, :-2],
        above[:, 2:] + two * here[:, 2:] + below[:, 2:],
        above[:, :-2] + two * above[:, 1:-1] + above[:, 2:],
        below[:, :-2] + two * below[:, 1:-1] + below[:, 2:],
    )


def band(array: np.ndarray, start: int, stop: int, margin: int) -> np.ndarray:
    """Rows start to stop as float32 with `margin` pixels all around, the nearest beyond the edges."""
    rows = np.clip(np.arange(start - margin, stop + margin), 0, len(array) - 1)
    around = [(0, 0), (margin, margin), (0, 0)]
    return np.pad(array[rows].astype(np.float32), around[: array.ndim], mode="edge")


@np.errstate(invalid="ignore", over="ignore")
def hillshade(elevation: np.ndarray, cell: float) -> np.ndarray:
    sideways = np.float32(255 * -0.5)
    upwards = np.float32(255) * np.sqrt(np.float32(0.5))
    scale = np.float32(1) / (np.float32(8) * np.float32(cell))
    shade = np.empty(elevation.shape, np.uint8)
    for start in range(0, len(elevation), BAND):
        stop = min(start + BAND, len(elevation))
        west, east, north, south = neighbours(band(elevation, start, stop, 1))
        slope_x = (east - west) * scale
        slope_y = (south - north) * scale
        facing = upwards - sideways * (slope_x + slope_y)
        shade[start:stop] = to_byte(
            facing / np.sqrt(np.float32(1) + slope_x * slope_x + slope_y * slope_y)
        )
    return shade


def gaussian_weights(sigma: float) -> list[np.float32]:
    sigma = float(np.float32(sigma))
    radius = math.ceil(3 * sigma)
    curve = [1.0 if i == 0 else math.exp(-0.5 * i * i / (sigma * sigma)) for i in range(-radius, radius + 1)]
    total = sum(curve)
    return [np.float32(value / total) for value in curve]


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """The blur of rows that have a margin of the radius above and below, and on either side."""
    weights = gaussian_weights(sigma)
    width = image.shape[1] - len(weights) + 1
    height = image.shape[0] - len(weights) + 1
    along = np.zeros((image.shape[0], width, *image.shape[2:]), np.float32)
    for k, weight in enumerate(weights):
        along += weight * image[:, k : k + width]
    both = np.zeros((height, *along.shape[1:]), np.float32)
    for k, weight in enumerate(weights):
        both += weight * along[k : k + height]
    return both


def edges(image: np.ndarray, sigma: float) -> np.ndarray:
    radius = len(gaussian_weights(sigma)) // 2
    result = np.empty(image.shape, np.uint8)
    for start in range(0, len(image), BAND):
        stop = min(start + BAND, len(image))
        first, last = max(start - 1, 0), min(stop + 1, len(image))
        # Beyond its edges the blurred image, not the source, is continued: so blur the rows that
        # exist, then repeat the outer ones.
        soft = blurred(band(image, first, last, radius), sigma)
        soft = np.pad(
            soft,
            [(int(first == start), int(last == stop)), (1, 1), (0, 0)][: image.ndim],
            mode="edge",
        )
        west, east, north, south = neighbours(soft)
        across, down = east - west, south - north
        result[start:stop] = to_byte(np.sqrt(across * across + down * down))
    return result


KERNELS = {"hillshade": hillshade, "edges": edges}
