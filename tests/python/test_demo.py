"""The demo: its kernels against NumPy, and its command line."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples/demo"
# Where the examples were built; that they were is a condition of these tests.
EXAMPLES = pathlib.Path(os.environ.get("PANNIER_BUILD_DIR", ROOT / "build/release")) / "examples"
ENVIRONMENT = {**os.environ, "COLUMNS": "120"}


@pytest.fixture(scope="module")
def modules():
    """The demo's own modules and the kernels, as demo.py imports them."""
    built = sorted(EXAMPLES.rglob("demo_kernels*.so"))
    assert built, f"no demo_kernels in {EXAMPLES}: build the examples, or set PANNIER_BUILD_DIR"
    paths = [str(DEMO), str(built[0].parent)]
    sys.path[:0] = paths
    try:
        import demo_kernels
        import frames
        import reference
    finally:
        del sys.path[: len(paths)]
    return demo_kernels, frames, reference


def run_demo(*arguments, **options):
    return subprocess.run(
        [sys.executable, DEMO / "demo.py", "--workers", EXAMPLES, *map(str, arguments)],
        capture_output=True, text=True, timeout=100, env=ENVIRONMENT, **options,
    )  # fmt: skip


SHAPES = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 3), (5, 64), (63, 5), (64, 64), (65, 31), (130, 70)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_hillshade_is_numpys(modules, shape, dtype):
    kernels, frames, reference = modules
    elevation = (np.random.default_rng(1).normal(size=shape) * 300).astype(dtype)
    frame = frames.Frame("random", "hillshade", elevation, 100.0, shape)
    frame.expected = reference.hillshade(elevation, 100.0)
    result = np.empty(shape, np.uint8)
    kernels.hillshade(elevation, 100.0, result)
    assert frame.difference(result) is None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("channels", [(), (1,), (3,), (4,)], ids=str)
@pytest.mark.parametrize("sigma", [0, 0.5, 2, 20])
def test_edges_are_numpys(modules, shape, channels, sigma):
    kernels, frames, reference = modules
    image = np.random.default_rng(2).integers(0, 256, shape + channels, dtype=np.uint8)
    frame = frames.Frame("random", "edges", image, sigma, shape)
    frame.expected = reference.edges(image, sigma)
    result = np.empty(image.shape, np.uint8)
    kernels.edges(image, sigma, result)
    assert frame.difference(result) is None


def test_hillshade_by_hand(modules):
    """A plain is lit at 45 degrees; the slope that faces the light fully; where nothing is known, 0."""
    kernels, _, _ = modules
    shade = np.empty((5, 5), np.uint8)
    kernels.hillshade(np.full((5, 5), 700, np.int16), 10.0, shade)
    assert (shade == round(255 * 0.5**0.5)).all()
    x, y = np.meshgrid(np.arange(5.0), np.arange(5.0))
    kernels.hillshade((x + y) * 10 * 0.5**0.5, 10.0, shade)  # rises to the south-east at 45 degrees
    assert shade[2, 2] == 255
    kernels.hillshade(-(x + y) * 1000, 10.0, shade)
    assert shade[2, 2] == 0
    unknown = np.zeros((5, 5), np.float32)
    unknown[0, 0] = np.nan
    kernels.hillshade(unknown, 10.0, shade)
    assert shade[1, 1] == 0 and shade[0, 0] == 0 and shade[4, 4] == round(255 * 0.5**0.5)


def test_edges_by_hand(modules):
    """An even image has no edge; a step of 10 has one of 4 * 10 in its own channel only."""
    kernels, _, _ = modules
    image = np.full((6, 6, 3), 100, np.uint8)
    edges = np.empty_like(image)
    kernels.edges(image, 2.0, edges)
    assert not edges.any()
    image[:, 3:, 1] = 110
    kernels.edges(image, 0.0, edges)
    assert (edges[:, 2:4, 1] == 40).all()
    assert np.count_nonzero(edges) == 6 * 2
    kernels.edges(np.repeat(np.uint8([[[0], [255]]]), 4, axis=0), 0.0, out := np.empty((4, 2, 1), np.uint8))
    assert (out == 255).all()  # 1020, cut


def test_kernels_refuse_what_does_not_fit(modules):
    kernels, _, _ = modules
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="out"):
        kernels.edges(image, 1.0, np.empty((4, 3), np.uint8))
    with pytest.raises(ValueError, match="sigma"):
        kernels.edges(image, 21.0, np.empty_like(image))
    with pytest.raises(ValueError, match="dimensions"):
        kernels.edges(image[0], 1.0, np.empty(4, np.uint8))
    with pytest.raises(TypeError):
        kernels.hillshade(image, 1.0, np.empty_like(image))


def test_a_wrong_result_is_noticed(modules):
    _, frames, _ = modules
    expected = np.full((100, 100), 50, np.uint8)
    frame = frames.Frame("even", "edges", expected, 0.0, (100, 100), expected)
    off = expected.copy()
    off[3, 4] = 51
    assert frame.difference(off) is None  # the tolerance: few, and by one level
    off[3, 4] = 48
    assert "by up to 2 levels" in frame.difference(off)
    assert "10000 of 10000" in frame.difference(expected + np.uint8(1))
    assert "int16" in frame.difference(expected.astype(np.int16))
    assert "(50, 200)" in frame.difference(expected.reshape(50, 200))


@pytest.mark.parametrize("size", [1, 12, 4096, 1_000_000])
def test_tiles_fill_a_frame(modules, size):
    _, frames, _ = modules
    for tile in (np.arange(12, dtype=np.int16).reshape(3, 4), np.ones((3, 4, 3), np.uint8)):
        frame = frames.tiled(tile, size, np.empty)
        assert size <= frame.nbytes <= size + 4 * np.sqrt(size) * tile.itemsize * 3 + 16
        assert frame.dtype == tile.dtype and frame.shape[2:] == tile.shape[2:]
        height, width = min(3, len(frame)), min(4, frame.shape[1])
        np.testing.assert_array_equal(frame[:height, :width], tile[:height, :width])
    mirrored = frames.tiled(np.arange(6, dtype=np.int16).reshape(2, 3), 48, np.empty)
    np.testing.assert_array_equal(mirrored[0], [0, 1, 2, 2, 1])


def test_demo(tmp_path):
    done = run_demo("--size", 1, "--frames", 2, "--only", "pannier", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr + done.stdout
    rows = [line.split("│") for line in done.stdout.splitlines() if "pannier" in line and "│" in line]
    assert len(rows) == 1
    _, way, frames, crossed, copied, *_ = (cell.strip() for cell in rows[0])
    assert (way, frames, copied) == ("pannier", "2", "0 B")
    assert float(crossed.split()[0]) >= 3  # two frames and, an elevation's being half as large, results
    assert "OK: all 2 results equal NumPy's, the pools hold 0 leases" in done.stdout
    from PIL import Image

    pictures = list(tmp_path.glob("out/*.png"))
    assert {path.stem for path in pictures} == {
        "grace_hopper", "grace_hopper-frame", "jacksboro_fault_dem", "jacksboro_fault_dem-frame",
    }  # fmt: skip
    for path in pictures:
        with Image.open(path) as picture:
            levels = np.asarray(picture.convert("L"))
        assert min(levels.shape) >= 300 and levels.std() > 10, f"{path} shows nothing"


def test_three_ways(tmp_path):
    done = run_demo("--size", 1, "--frames", 6, "--out", tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "OK: all 18 results equal NumPy's" in done.stdout
    ways = [line.split("│")[1].strip() for line in done.stdout.splitlines() if line.startswith("│")]
    assert ways == ["pannier", "multiprocessing.Pool", "pyzmq, pickle 5"]


def test_own_inputs(tmp_path):
    from PIL import Image

    random = np.random.default_rng(3)
    np.save(tmp_path / "model.npy", random.random((20, 30)).astype(">f4"))
    np.savez(tmp_path / "models.npz", small=np.zeros(3), large=random.random((40, 50)))
    Image.fromarray(random.integers(0, 255, (33, 44), dtype=np.uint8)).save(tmp_path / "grey.png")
    inputs = [tmp_path / name for name in ("model.npy", "models.npz", "grey.png")]
    done = run_demo(
        "--size", 0.5, "--frames", 6, "--only", "pannier", "--out", tmp_path / "out", *inputs
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert len(list(tmp_path.glob("out/*.png"))) == 12


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("no picture"), "cannot identify image file"),
        (lambda path: np.save(path.open("wb"), np.zeros((2, 3, 4))), "float64(2, 3, 4)"),
    ],
    ids=["missing", "text", "three dimensions"],
)
def test_unusable_input(tmp_path, make, said):
    path = tmp_path / ("x.npy" if "float" in said else "x.png")
    make(path)
    done = run_demo("--only", "pannier", path)
    assert done.returncode == 2
    assert said in done.stderr and str(path) in done.stderr and "Traceback" not in done.stderr


def test_a_worker_that_does_not_start_is_quoted(tmp_path):
    (tmp_path / "demo_worker").write_text("#!/bin/sh\necho no luck >&2\nexit 3\n")
    (tmp_path / "demo_worker").chmod(0o755)
    done = run_demo("--only", "pannier", "--workers", tmp_path, "--size", 1, "--out", tmp_path)
    assert done.returncode == 1
    assert 'exited with 3, saying "no luck", before it listened' in done.stderr
    assert "Traceback" not in done.stderr


def workers_of(pid):
    """The demo_worker processes of a running demo."""
    found = []
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == "demo_worker":
                found.append(int(child))
    return found


def test_a_worker_that_dies_is_named(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, DEMO / "demo.py", "--workers", EXAMPLES, "--only", "pannier", "--size", "4",
         "--frames", "1000000", "--out", tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while len(workers := workers_of(demo.pid)) < 2:
            assert time.monotonic() < deadline and demo.poll() is None, "no workers appeared"
            time.sleep(0.05)
        time.sleep(1)
        os.kill(workers[1], signal.SIGKILL)
        _, stderr = demo.communicate(timeout=30)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 1
    assert f"(pid {workers[1]}) was killed by SIGKILL" in stderr and "Traceback" not in stderr
    assert not pathlib.Path(f"/proc/{workers[0]}").exists(), "the other worker was left behind"
