"""Sends frames: an image, its number and the time, 30 a second. No image is copied.

usage: frames_sender.py ADDRESS [COUNT]
"""

import sys
import time

import numpy as np
import pannier


def paint(image: np.ndarray, number: int) -> None:
    """A bright bar that moves to the right."""
    image[:] = 32
    left = number * 16 % image.shape[1]
    image[:, left : left + 64] = 255


def main(address: str, count: str = "300") -> None:
    with pannier.connect(address) as connection:
        for number in range(int(count)):
            image = pannier.empty((1080, 1920, 3), np.uint8)  # its memory is that of a frame gone by
            paint(image, number)
            connection.send({"number": number, "time": time.time(), "image": image})
            time.sleep(1 / 30)
        print(f"sent {count} frames, copied {connection.stats().copied_bytes} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
