"""Converts published benchmarks to tables: NAS-Bench-201 in npz, NATS-Bench in CSV.

The benchmarks themselves are pickles of gigabytes. These small files hold the metrics
that a search needs; reading them needs no other package and executes no code.
"""

import csv
import os
import pathlib
import re

import numpy as np

from jnas import spaces
from jnas.data import npz
from jnas.discrete.tables import table as table_lib
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text

SHORT, FULL = 12, 200  # epochs


def from_nasbench201(path: str | os.PathLike) -> table_lib.Table:
    """Reads NAS-Bench-201 from one npz of plain arrays.

    Args:
      path: a file with ``ops`` i8[15625, 6], ``op_names``, ``edges`` and any number of
        arrays [15625], such as ``cifar10_valid_12``. Arrays ``*_seeds`` [15625, S]
        become S metrics. ``train_seconds_200_SET`` becomes ``SET_seconds_200`` and,
        times 12 / 200, ``SET_seconds_12``.

    Returns:
      The table, its rows in mixed-radix order. ``seconds`` are those of 12 epochs on
      CIFAR-10.

    Raises:
      ValueError: the file does not exist or has other contents.

    Source: Dong and Yang 2020, arXiv:2001.00326.
    """
    arrays = _load(path)
    for name in ("ops", "op_names", "edges"):
        _need(name in arrays, path, f"hold {name}", "none")
    space = spaces.zoo.nasbench201()
    names = [str(name) for name in arrays["op_names"]]
    operations, ops = space.operations, arrays["ops"]
    _need(sorted(names) == sorted(operations), path, f"name {operations}", names)
    edges = [tuple(np.ravel(edge).tolist()) for edge in arrays["edges"]]
    fits = sorted(edges) == sorted(space.edges)
    _need(fits, path, f"have edges {space.edges}", edges)
    fits = ops.ndim == 2 and ops.shape[1] == len(edges) and ops.dtype.kind in "iu"
    fits = fits and ((ops >= 0) & (ops < len(names))).all()
    _need(fits, path, f"have ops from 0 to {len(names) - 1} for each edge", "others")
    value = np.array([operations.index(name) for name in names])
    genes = value[ops][:, [edges.index(edge) for edge in space.edges]]
    metrics = {}
    for name, column in arrays.items():
        if name in ("ops", "op_names", "edges"):
            continue
        rows = np.shape(column)[:1]
        _need(
            rows == (len(genes),),
            path,
            f"have {len(genes)} {name}",
            rows[0] if rows else 1,
        )
        _need(column.dtype.kind in "iuf", path, f"have numbers in {name}", column.dtype)
        seeds = column.ndim == 1 or (column.ndim == 2 and name.endswith("_seeds"))
        _need(
            seeds, path, f"have one {name} per cell, or name it *_seeds", column.shape
        )
        metrics |= _named(name, column)
    if "cifar10_valid_seconds_12" in metrics:
        metrics["seconds"] = metrics["cifar10_valid_seconds_12"]
    return _ordered(pathlib.Path(path).stem, genes, metrics, path)


def from_nats_csv(path: str | os.PathLike) -> table_lib.Table:
    """Reads metrics that a user exported from NATS-Bench's topology space as CSV.

    Args:
      path: a CSV file with a header and a column ``arch`` with strings such as
        ``|avg_pool_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|``. The other columns
        hold numbers, empty where unknown. Rows may be in any order and incomplete.

    Returns:
      The table; its metrics are named like the columns, with ``_`` for ``-`` and
      spaces.

    Raises:
      ValueError: the file or the column does not exist, or a cell is invalid; the
        message has its line.

    Source: Dong, Liu, Musial and Gabrys 2021, arXiv:2009.00437.

    To write the file, where NATS-Bench is installed::

        for i in range(15625):
            info = api.get_more_info(i, "cifar10-valid", hp="12", is_random=False)
            rows.append([api.arch(i), info["valid-accuracy"], info["train-all-time"]])
    """
    path = pathlib.Path(path)
    _need(os.path.isfile(path), path, "be an existing file", "none")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        _need(False, path, "be text in UTF-8", error)
    header = [re.sub(r"[-\s]", "_", name.strip()) for name in rows[0]] if rows else []
    _need("arch" in header, path, "have a column arch", header)
    _need(len(rows) > 1, path, "have rows", "none")
    different = len(set(header)) == len(header)
    _need(different, path, "have columns of different names", header)
    at, genes, columns = header.index("arch"), [], []
    for line, row in enumerate(rows[1:], 2):
        rule = f"have {len(header)} columns in each line"
        _need(len(row) == len(header), path, rule, f"{len(row)} in line {line}")
        genes.append(_genes(row[at], path, line))
        numbers = [text for i, text in enumerate(row) if i != at]
        columns.append([_number(text, path, line) for text in numbers])
    names = [name for name in header if name != "arch"]
    _need(bool(names), path, "have a column of numbers", header)
    metrics = dict(zip(names, np.array(columns, np.float32).T, strict=True))
    return _ordered(path.stem, np.array(genes), metrics, path)


def _load(path) -> dict[str, np.ndarray]:
    _need(os.path.isfile(path), path, "be an existing file", "none")
    try:
        return npz.read(path)
    except ValueError as error:
        _need(False, path, "be a readable npz of plain arrays", error)


def _named(name: str, column: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the metrics, name -> column, of one array of NAS-Bench-201."""
    if column.ndim == 2:
        short = name.removesuffix("_seeds")
        return {f"{short}_seed{i}": v for i, v in enumerate(column.T)}
    seconds = re.fullmatch(rf"train_seconds_{FULL}_(\w+)", name)
    if not seconds:
        return {name: column}
    full, kind = column.astype(np.float64), seconds[1]
    short = full * SHORT / FULL
    return {f"{kind}_seconds_{FULL}": full, f"{kind}_seconds_{SHORT}": short}


def _ordered(name, genes, metrics, path) -> table_lib.Table:
    """Sorts rows in mixed-radix order; stores no encodings if all cells are there."""
    space = spaces.zoo.nasbench201()
    row = np.ravel_multi_index(tuple(genes.T), space.sizes)
    order = np.argsort(row)
    numbers = row[order]
    _need((np.diff(numbers) > 0).all(), path, "have each cell once", "one twice")
    whole = len(numbers) == space.num_architectures
    sorted_metrics = {k: np.float32(v)[order] for k, v in metrics.items()}
    encodings = None if whole else genes[order].astype(np.int32)
    return table_lib.Table(
        name, space.sizes, space.gene_names, sorted_metrics, encodings
    )


def _genes(text: str, path, line: int) -> np.ndarray:
    space = spaces.zoo.nasbench201()
    try:
        return space.encode(genotype_text.from_nasbench201(text.strip()))
    except genotypes.GenotypeError as error:
        _need(False, path, "have cells in arch", f"line {line}: {error}")


def _number(text: str, path, line: int) -> float:
    try:
        return float(text) if text.strip() else float("nan")
    except ValueError:
        _need(
            False,
            path,
            "hold numbers in all columns but arch",
            f"{text!r} in line {line}",
        )


def _need(condition: object, path, rule: str, value: object) -> None:
    if not condition:
        raise ValueError(
            f"benchmark {str(path)!r} must {rule}, got {value}. Check the file."
        )
