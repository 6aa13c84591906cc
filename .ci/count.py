"""Adds up JUnit files, and perhaps steps counted elsewhere, and prints "N passed, N failed",
above it what failed. A file that is missing or broken is a failure. Exits 1 if anything failed."""

import argparse
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def count(path: pathlib.Path) -> tuple[int, int]:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        print(f"FAILED {path.stem}: left no result ({error})")
        return 0, 1
    passed = failed = 0
    for case in root.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
            print(f"FAILED {path.stem}: {name}")
            failed += 1
        elif case.find("skipped") is None and case.get("status") != "disabled":
            passed += 1
    return passed, failed


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", nargs=2, type=int, default=(0, 0), metavar=("PASSED", "FAILED"))
parser.add_argument("files", nargs="+", type=pathlib.Path)
arguments = parser.parse_args()
counts = [count(path) for path in arguments.files] + [tuple(arguments.steps)]
passed, failed = (sum(column) for column in zip(*counts))
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
