"""Tables: the file, its rows, the objective that reads it, and what is converted."""

import hashlib
import re
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import spaces
from jnas.discrete import objectives, tables
from jnas.spaces import genotype_text

SPACE = spaces.zoo.nasbench201()
SIZES, NAMES = (2, 3, 2), ("a", "b", "c")
WHOLE = tables.Table("whole", SIZES, NAMES, {"valid": np.arange(12) / 2.0})
ROWS = np.array([[1, 2, 0], [0, 0, 1], [1, 0, 1]], np.int32)
PART = tables.Table(
    "part", SIZES, NAMES, {"valid": np.array([5.0, 6.0, 7.0])}, encodings=ROWS
)


@pytest.mark.parametrize("table", [WHOLE, PART], ids=lambda table: table.name)
def test_round_trip(table, tmp_path):
    """What is written is read."""
    tables.write_npz(tmp_path / "t.npz", table)
    back = tables.load(str(tmp_path / "t.npz"))
    assert (back.sizes, back.gene_names) == (table.sizes, table.gene_names)
    np.testing.assert_array_equal(back.metrics["valid"], table.metrics["valid"])
    if table.encodings is not None:
        np.testing.assert_array_equal(back.encodings, table.encodings)
    assert back.metrics["valid"].dtype == np.float32


def test_rows_are_mixed_radix_numbers():
    """All points in order; those that a table does not know score NaN."""
    points = jnp.asarray(np.indices(SIZES).reshape(3, -1).T)
    assert list(WHOLE.row(points)) == [
        spaces.encoding.index(point, SIZES) for point in np.asarray(points)
    ]
    rows = np.asarray(jax.jit(jax.vmap(PART.row))(points))
    known = {tuple(row): i for i, row in enumerate(ROWS.tolist())}
    assert list(rows) == [known.get(tuple(p), 3) for p in points.tolist()]
    scores = objectives.table(PART, ["valid"])(jax.random.key(0), points)
    assert list(np.isnan(scores[:, 0])) == [
        tuple(p) not in known for p in points.tolist()
    ]


def test_columns_of_the_objective():
    """In the order asked for; a minus sign negates; an unknown one is guessed."""
    scores = objectives.table(WHOLE, ["valid", "-valid"])(
        jax.random.key(0), jnp.array([[1, 1, 1]])
    )
    np.testing.assert_array_equal(scores, [[4.5, -4.5]])
    with pytest.raises(ValueError, match="Did you mean 'valid'"):
        objectives.table(WHOLE, ["vald"])


def test_an_infinite_score_is_an_unknown_one():
    """Were it a number, the cell of an infinity would be the best of all, or hidden."""
    values = np.arange(12, dtype=np.float32)
    values[[3, 5, 7]] = np.inf, -np.inf, np.nan
    made = tables.Table("made", SIZES, NAMES, {"valid": values})
    points = jnp.asarray(np.indices(SIZES).reshape(3, -1).T)
    for text, sign in (("valid", 1), ("minimize:valid", -1)):
        scores = objectives.table(made, [text])(None, points)[:, 0]
        wanted = [np.nan if i in (3, 5, 7) else sign * i for i in range(12)]
        np.testing.assert_array_equal(scores, wanted)
    whole = tables.Table("whole", SIZES, NAMES, {"count": np.arange(12)})
    assert whole.column("count").dtype == np.arange(12).dtype


def test_a_digest_has_the_costs_where_there_are_some():
    """Without costs it is that of earlier releases; their order does not matter."""
    values = {name: np.arange(12, dtype=np.float32) for name in ("x", "y")}

    def digest(*costs):
        return tables.Table("t", SIZES, NAMES, values, None, costs).digest

    sha = hashlib.sha256(b"((2, 3, 2), ('a', 'b', 'c'))")
    for name in ("x", "y"):
        sha.update(name.encode() + struct.pack("<12f", *range(12)))
    assert digest() == sha.hexdigest()
    different = {digest(), digest("x"), digest("y"), digest("x", "y")}
    assert len(different) == 4
    assert digest("y", "x") == digest("x", "y") == digest("x", "y", "x")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (dict(sizes=()), "sizes of 1 or more"),
        (dict(gene_names=("a",)), "3 gene_names"),
        (dict(metrics={}), "a metric"),
        (dict(metrics={"valid": np.zeros(5)}), "one valid for each of 12 rows"),
        (dict(metrics={"sizes": np.zeros(12)}), "metrics of other names"),
        (dict(encodings=ROWS[:, :2]), "encodings"),
        (dict(encodings=ROWS + 1), "genes inside sizes"),
        (dict(encodings=ROWS[[0, 0, 1]]), "each encoding once"),
    ],
)
def test_parts_that_do_not_fit(parts, words):
    """Each is refused in one line."""
    given = dict(sizes=SIZES, gene_names=NAMES, metrics={"valid": np.zeros(12)})
    if "encodings" in parts:
        given["metrics"] = {"valid": np.zeros(3)}
    with pytest.raises(ValueError, match=words):
        tables.Table("bad", **(given | parts))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (None, "an existing npz file"),
        (b"text", "a readable npz of plain arrays"),
        (dict(valid=np.zeros(3)), "without sizes, gene_names"),
        (
            dict(sizes=[2], gene_names=["a"], valid=np.array([{}, 1], object)),
            "a readable",
        ),
    ],
)
def test_files_that_are_no_tables(arrays, words, tmp_path):
    """No pickle is read, nothing is guessed."""
    path = tmp_path / "t.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif arrays:
        np.savez(path, **arrays)
    with pytest.raises(ValueError, match=words) as error:
        tables.load(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (dict(valid=np.zeros(5)), "one valid for each of 12 rows, got (5,)"),
        (dict(valid=np.zeros((12, 2))), "one valid for each of 12 rows, got (12, 2)"),
        (dict(valid=np.zeros(3), encodings=ROWS + 1), "genes inside sizes"),
        (dict(valid=np.zeros(3), encodings=ROWS - 1), "genes inside sizes"),
        (dict(valid=np.zeros(3), encodings=ROWS[[0, 1, 0]]), "each encoding once"),
        (dict(valid=np.zeros(3), encodings=ROWS[0]), "encodings [N, 3], got (3,)"),
        (dict(), "have a metric"),
    ],
)
def test_files_whose_parts_do_not_fit(arrays, words, tmp_path):
    """Ragged, out of range or twice: one line, with the file's name."""
    path = tmp_path / "t.npz"
    np.savez(path, sizes=SIZES, gene_names=NAMES, **arrays)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        tables.load(str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("table", [WHOLE, PART], ids=lambda table: table.name)
def test_objective_jitted_and_mapped(table):
    """One cell at a time or all at once, compiled or not, scores are the same."""
    points = jnp.asarray(np.indices(SIZES).reshape(3, -1).T)
    objective, key = objectives.table(table, ["-valid", "valid"]), jax.random.key(0)
    want = np.asarray(objective(key, points))
    assert want.shape == (12, 2) and want.dtype == np.float32
    np.testing.assert_array_equal(jax.jit(objective)(key, points), want)
    one = jax.vmap(lambda point: objective(key, point[None])[0])
    np.testing.assert_array_equal(one(points), want)
    np.testing.assert_array_equal(want[:, 0], -want[:, 1])


def test_unknown_names_are_guessed():
    """A name near the embedded one."""
    with pytest.raises(KeyError, match="Did you mean 'digits201'"):
        tables.load("digit201")


@pytest.fixture
def nasbench201(tmp_path):
    """All cells in another order, with operations and edges renamed in order."""
    rng = np.random.default_rng(0)
    genes = np.indices(SPACE.sizes).reshape(6, -1).T[rng.permutation(15_625)]
    kinds, edges = rng.permutation(5), rng.permutation(6)
    number = np.ravel_multi_index(tuple(genes.T), SPACE.sizes)
    path = tmp_path / "nb.npz"
    np.savez(
        path,
        ops=np.argsort(kinds)[genes][:, edges].astype(np.int8),
        op_names=np.array(SPACE.operations)[kinds],
        edges=np.array(SPACE.edges)[edges],
        cifar10_valid_12=number.astype(np.float32),
        cifar10_valid_200_seeds=np.stack([number, -number], 1).astype(np.float32),
        train_seconds_200_cifar10_valid=1.0 + number,
    )
    return path


def test_nasbench201_is_put_in_order(nasbench201):
    """Row n is the cell of index n; 12 epochs take 12 / 200 of the seconds."""
    table = tables.load(f"nasbench201:{nasbench201}")
    number = np.arange(15_625)
    np.testing.assert_array_equal(table.column("cifar10_valid_12"), number)
    np.testing.assert_array_equal(table.column("cifar10_valid_200_seed1"), -number)
    np.testing.assert_allclose(table.column("seconds"), (1 + number) * 0.06, rtol=1e-6)
    assert table.sizes == SPACE.sizes and table.encodings is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(ops=None), "hold ops, got none"),
        (dict(op_names=np.array(["a", *SPACE.operations[1:]])), "name ("),
        (dict(edges=np.zeros((6, 2), int)), "have edges ("),
        (dict(cifar10_valid_12=np.zeros(7)), "have 15625 cifar10_valid_12, got 7"),
        (dict(ops=np.zeros((15_625, 6), np.int8)), "have each cell once"),
        (dict(extra=np.array([{}] * 2, object)), "be a readable npz of plain arrays"),
    ],
)
def test_files_that_are_not_nasbench201(nasbench201, change, words):
    """Arrays that miss, or say something else, are named in one line."""
    with np.load(nasbench201) as file:
        arrays = dict(file) | change
    np.savez(nasbench201, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        tables.load(f"nasbench201:{nasbench201}")
    assert "\n" not in str(error.value) and str(nasbench201) in str(error.value)


@pytest.mark.parametrize("kind", ["nasbench201", "nats_csv"])
def test_converters_name_a_file_that_is_not_there(kind, tmp_path):
    """With its path."""
    path = tmp_path / "none"
    with pytest.raises(ValueError) as error:
        tables.load(f"{kind}:{path}")
    assert str(error.value) == (
        f"benchmark {str(path)!r} must be an existing file, got none. Check the file."
    )


def csv(tmp_path, *lines):
    """A file of lines under a header."""
    path = tmp_path / "nats.csv"
    path.write_text("\n".join(["arch,valid-accuracy,train-all-time", *lines]) + "\n")
    return path


def test_nats_csv(tmp_path):
    """Rows in any order; empty numbers are unknown; cells may be missing."""
    cells = [[4, 0, 0, 3, 2, 1], [0, 1, 2, 3, 4, 0]]
    texts = [genotype_text.to_nasbench201(SPACE.genotype(np.array(c))) for c in cells]
    table = tables.from_nats_csv(csv(tmp_path, f"{texts[0]},90.5,", f"{texts[1]},80,7"))
    assert table.num_rows == 2 and set(table.metrics) == {
        "valid_accuracy", "train_all_time",
    }  # fmt: skip
    row = int(table.row(jnp.array(cells[0])))
    assert table.column("valid_accuracy")[row] == 90.5
    assert np.isnan(table.column("train_all_time")[row])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "have rows"),
        (["|what~0|,1,2"], "cells in arch, got line 2"),
        (["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|,x,2"], "'x' in line 2"),
        (["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|,1"], "2 in line 2"),
        (["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|,1,2"] * 2, "cell once"),
    ],
)
def test_bad_csv(lines, words, tmp_path):
    """The line is named."""
    with pytest.raises(ValueError, match=words) as error:
        tables.from_nats_csv(csv(tmp_path, *lines))
    assert "\n" not in str(error.value)


def test_csv_as_spreadsheets_write_it(tmp_path):
    """A byte-order mark and blank lines are read over; equal columns are refused."""
    text = genotype_text.to_nasbench201(SPACE.genotype(np.zeros(6, int)))
    path = tmp_path / "nats.csv"
    path.write_text(f"arch,x\n{text},1\n\n", encoding="utf-8-sig")
    assert tables.from_nats_csv(path).column("x")[0] == 1
    path.write_text(f"arch,a-b,a_b\n{text},1,2\n")
    with pytest.raises(ValueError, match="columns of different names"):
        tables.from_nats_csv(path)
    path.write_bytes(b"arch,x\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match="text in UTF-8"):
        tables.from_nats_csv(path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda a: a | {"ops": a["ops"] - 1}, "ops from 0 to 4"),
        (lambda a: a | {"ops": a["ops"] + 3}, "ops from 0 to 4"),
        (lambda a: a | {"ops": a["ops"][:, :5]}, "ops from 0 to 4"),
        (lambda a: a | {"ops": a["ops"].astype(float)}, "ops from 0 to 4"),
        (lambda a: a | {"op_names": a["op_names"][[0, 0, 2, 3, 4]]}, "name"),
        (lambda a: a | {"edges": a["edges"][:, 0]}, "have edges"),
        (lambda a: a | {"x": np.float32(1)}, "have 15625 x"),
        (lambda a: a | {"x": np.zeros((15_625, 2))}, ", or name it \\*_seeds"),
        (lambda a: a | {"x": np.full(15_625, "a")}, "have numbers in x"),
    ],
)
def test_arrays_of_another_benchmark(changed, words, nasbench201, tmp_path):
    """What does not have the documented form is refused, not wrapped or cut."""
    with np.load(nasbench201) as file:
        arrays = dict(file)
    np.savez(tmp_path / "other.npz", **changed(arrays))
    with pytest.raises(ValueError, match=words):
        tables.from_nasbench201(tmp_path / "other.npz")


def test_wrong_types_in_a_table(tmp_path):
    """Genes are integers; a single array is no table."""
    good = dict(sizes=[2], gene_names=["a"], valid=[1.0, 2.0])
    for bad in (dict(sizes=[2.7]), dict(valid=["x", "y"]),
                dict(encodings=[[0.5], [1.0]])):  # fmt: skip
        np.savez(tmp_path / "t.npz", **(good | bad))
        with pytest.raises(ValueError, match="of another type"):
            tables.read_npz(tmp_path / "t.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match="a readable npz"):
        tables.read_npz(tmp_path / "one.npz")
