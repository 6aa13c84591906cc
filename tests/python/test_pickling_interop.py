"""Objects of other packages: what goes out of band, and that it comes back by ``pickle.loads``
alone. Each test needs its package."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from pannier.pickling import Pickling

dumps = Pickling()
ROWS = 50_000


def check(obj, equals, small=4096):
    """`obj` there and back; its stream holds nothing large. What came back."""
    stream, buffers = dumps(obj)
    assert len(stream) < small
    got = pickle.loads(stream, buffers=buffers)
    assert type(got) is type(obj) and equals(got, obj)
    return got, [buffer.raw().nbytes for buffer in buffers]


# pandas


@pytest.fixture(scope="module")
def pd():
    return pytest.importorskip("pandas")


def frames(pd):
    numbers = np.arange(ROWS * 4.0).reshape(ROWS, 4)
    times = pd.date_range("2020", periods=ROWS, freq="s")
    texts = [f"text {number}" for number in range(ROWS)]
    return {
        "numbers": pd.DataFrame(numbers, columns=list("abcd")),
        "every other row": pd.DataFrame(numbers)[::2],
        "every other column": pd.DataFrame(numbers).iloc[:, ::2],
        "columns": pd.DataFrame({"f": numbers[:, 0], "i": range(ROWS), "b": numbers[:, 1] > 7}),
        "times": pd.DataFrame({"t": times, "z": times.tz_localize("UTC"), "d": times - times[0]}),
        "index of times": pd.DataFrame({"x": numbers[:, 0]}, index=times + pd.to_timedelta(numbers[:, 0])),
        "category": pd.DataFrame({"c": pd.Categorical.from_codes(np.arange(ROWS) % 2, ["a", "b"])}),
        "nullable": pd.DataFrame({"n": pd.array(range(ROWS), "Int64")}),
        "periods": pd.DataFrame({"p": pd.period_range("2020", periods=ROWS, freq="D")}),
        "sparse": pd.DataFrame({"s": pd.arrays.SparseArray(numbers[:, 0] % 3)}),
        "empty": pd.DataFrame(),
        "texts": pd.DataFrame({"s": pd.array(texts, "string")}),
    }


def test_data_frames(pd):
    for name, frame in frames(pd).items():
        if name == "texts" and "pyarrow" not in str(frame.dtypes.iloc[0].storage):
            continue  # Python objects
        got, _ = check(frame, lambda got, sent: got.equals(sent))
        pd.testing.assert_frame_equal(got, frame)
        column = frame.iloc[:, 0] if name != "empty" else pd.Series(dtype=float)
        pd.testing.assert_series_equal(check(column, lambda got, sent: got.equals(sent))[0], column)
        index = check(frame.index, lambda got, sent: got.equals(sent))[0]
        pd.testing.assert_index_equal(index, frame.index)


def test_a_received_data_frame_is_writable(pd, pair):
    near, far = pair
    near.send(frames(pd)["columns"])
    got = far.recv(10)
    got.loc[0, "f"] = -1.0
    got["f"] += 1
    assert got.loc[0, "f"] == 0.0 and got["i"].sum() == ROWS * (ROWS - 1) // 2


def test_columns_of_objects_stay_in_band(pd):
    frame = pd.DataFrame({"o": pd.Series([(number,) for number in range(100)], dtype=object)})
    stream, buffers = dumps(frame)
    pd.testing.assert_frame_equal(pickle.loads(stream, buffers=buffers), frame)


# pyarrow


@pytest.fixture(scope="module")
def pa():
    return pytest.importorskip("pyarrow")


def test_arrow(pa):
    numbers = pa.array(np.arange(ROWS))
    texts = pa.array([f"text {number}" if number % 3 else None for number in range(ROWS)])
    table = pa.table({"n": numbers, "t": texts, "d": texts.dictionary_encode()})
    for obj in (
        numbers,
        texts,
        pa.chunked_array([numbers, numbers]),
        table,
        table.to_batches()[0],
        pa.array([[1, 2], [], None] * 10_000),
        pa.array([{"x": 1, "y": "z"}] * 10_000),
        pa.array([True, None] * ROWS),
        pa.array([b"x" * 100_000]),
        pa.array(np.arange(ROWS).astype("M8[us]")),
    ):
        check(obj, lambda got, sent: got.equals(sent))
    buffer = pa.py_buffer(b"x" * ROWS)
    _, sizes = check(buffer, lambda got, sent: got.equals(sent))
    assert sizes == [ROWS]
    # A slice takes the whole with it, as always with pyarrow: docs/python.md says so.
    _, sizes = check(numbers.slice(10, 5), lambda got, sent: got.equals(sent))
    assert sizes == [8 * ROWS]


def test_a_received_table_lies_in_shared_memory(pa, pair):
    near, far = pair
    near.send(pa.table({"n": np.arange(ROWS), "x": np.arange(float(ROWS))}), timeout=10)
    got = far.recv(10)
    assert near.stats().leased_bytes_sent == 16 * ROWS
    assert got.column("x").chunk(0).buffers()[1].address % 64 == 0
    assert got.column("n").to_numpy().sum() == ROWS * (ROWS - 1) // 2


# torch


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def test_tensors(torch):
    numbers = torch.arange(24_000.0)
    image = torch.randn(2, 16, 32, 32)
    tensors = {
        "numbers": numbers,
        "matrix": numbers.reshape(40, -1),
        "transposed": numbers.reshape(40, -1).T,
        "channels last": image.to(memory_format=torch.channels_last),
        "part": numbers[1000:3000],
        "bool": numbers > 7,
        "half": numbers.half(),
        "complex": torch.complex(numbers, numbers),
        "bfloat16": numbers.to(torch.bfloat16),
        "float8": numbers.to(torch.float8_e5m2),
        "with gradient": torch.randn(9000, requires_grad=True),
        "computed": torch.randn(9000, requires_grad=True) * 2,
        "parameter": torch.nn.Parameter(image),
        "few": torch.tensor([1, 2]),
        "no dimension": torch.tensor(2.5),
        "nothing": torch.empty(0, 3),
    }
    for name, tensor in tensors.items():
        # torch.equal knows no float8.
        got, sizes = check(tensor, lambda got, sent: bool((got == sent).all()))
        assert got.dtype == tensor.dtype and got.requires_grad == tensor.requires_grad, name
        assert got.stride() == tensor.stride() and sizes == [tensor.numel() * tensor.element_size()], name
    # Contiguous afterwards: the gaps do not travel.
    for tensor in (numbers[::2], torch.zeros(1, 1).expand(300, 400)):
        got, sizes = check(tensor, torch.equal)
        assert got.is_contiguous() and sizes == [tensor.numel() * 4]


def test_tensors_that_torch_alone_pickles(torch):
    with_attribute = torch.randn(10)
    with_attribute.note = "kept"
    for tensor in (
        torch.randn(10, dtype=torch.complex64).conj(),
        torch._neg_view(torch.randn(10)),
        with_attribute,
    ):
        got, _ = check(tensor, torch.equal)
        assert got.__dict__ == tensor.__dict__
    assert check(torch.eye(100).to_sparse(), lambda got, sent: torch.equal(got.to_dense(), sent.to_dense()), 1 << 20)


def test_modules(torch):
    model = torch.nn.Sequential(torch.nn.Linear(200, 200), torch.nn.Linear(200, 200))
    model[1].weight = model[0].weight
    got, sizes = check(model, lambda got, sent: torch.equal(got(torch.ones(200)), sent(torch.ones(200))))
    assert got[0].weight is got[1].weight and sizes == [160_000, 800, 800]
    state, _ = check(model.state_dict(), lambda got, sent: got.keys() == sent.keys())
    assert torch.equal(state["0.weight"], model[0].weight)


def test_a_received_tensor_is_writable(torch, pair):
    near, far = pair
    sent = torch.zeros(100_000)
    near.send({"tensor": sent}, timeout=10)
    got = far.recv(10)["tensor"]
    got += 1
    assert got.sum() == 100_000 and sent.sum() == 0
    assert near.stats().leased_bytes_sent == 400_000


@pytest.mark.parametrize("package", ["pandas", "pyarrow", "torch"])
def test_pannier_imports_none_of_them(package):
    program = f"import sys, pannier; pannier.dumps([1]); assert {package!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
