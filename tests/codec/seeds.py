"""The streams of golden/ and vectors/ as files, one each: what the fuzz targets start from.

usage: seeds.py FOLDER CHOICES

The first byte of a target's input chooses among so many options, or types: here it is a
number below CHOICES that follows from the stream.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
LONGEST = 4096  # bytes; a fuzzer is slow with long inputs and finds no more


def streams() -> Iterator[bytes]:
    """Every word of the vectors that is base64, so a few that are none: any bytes will do."""
    for file in [*HERE.glob("golden/*.txt"), *HERE.glob("vectors/*.txt")]:
        for word in file.read_text().split():
            try:
                yield base64.b64decode(word, validate=True)
            except binascii.Error:
                continue


def main() -> None:
    folder, choices = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for stream in streams():
        if 0 < len(stream) <= LONGEST:
            digest = hashlib.sha256(stream)
            choice = digest.digest()[0] % choices
            (folder / digest.hexdigest()[:16]).write_bytes(bytes([choice]) + stream)


if __name__ == "__main__":
    main()
