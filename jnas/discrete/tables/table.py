"""Table: the measured metrics of a benchmark's cells, and its file format.

One npz: ``sizes`` i32[G], ``gene_names``, ``encodings`` i32[N, G] (absent where the
rows are all points in mixed-radix order, the first gene slowest), and one f32[N] array
for each metric, named. ``costs``, optional, names metrics that are better where
they are lower; parameters, seconds and their like are so without it.
"""

import dataclasses
import functools
import hashlib
import math
import os
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jnas import directions, registry, types
from jnas.data import npz

FIXED = ("sizes", "gene_names", "encodings", "costs")


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The results of a tabular benchmark.

    Attributes:
      name: name of the table in messages.
      sizes: the number of values of each gene.
      gene_names: a name for each gene.
      metrics: name -> f32[N], NaN where unknown; accuracies in percent, ``seconds``
        where known.
      encodings: i32[N, G]; None means all encodings in mixed-radix order.
      costs: names of the metrics that are better where they are lower, beside those
        whose names say so.

    Raises:
      ValueError: the fields do not fit each other.
    """

    name: str
    sizes: tuple[int, ...]
    gene_names: tuple[str, ...]
    metrics: Mapping[str, np.ndarray]
    encodings: np.ndarray | None = None
    costs: tuple[str, ...] = ()

    def __post_init__(self):
        """Checks that the fields fit each other."""
        sizes = self.sizes
        self._need(sizes and min(sizes) >= 1, "sizes of 1 or more", sizes)
        names = self.gene_names
        self._need(len(names) == len(sizes), f"{len(sizes)} gene_names", len(names))
        if self.encodings is not None:
            self._check_encodings()
        self._need(bool(self.metrics), "a metric", "none")
        for name, values in self.metrics.items():
            self._need(name not in FIXED, "metrics of other names", name)
            rule = f"one {name} for each of {self.num_rows} rows"
            self._need(np.shape(values) == (self.num_rows,), rule, np.shape(values))
        for name in self.costs:
            self._need(name in self.metrics, "costs among its metrics", name)

    def _check_encodings(self) -> None:
        rows, width = self.encodings, len(self.sizes)
        fits = rows.ndim == 2 and rows.shape[1] == width
        self._need(fits, f"encodings [N, {width}]", rows.shape)
        self._need(len(rows) > 0, "at least one row", 0)
        inside = ((rows >= 0) & (rows < np.array(self.sizes))).all()
        self._need(inside, "genes inside sizes", "one outside")
        different = len(np.unique(rows, axis=0))
        self._need(different == len(rows), "each encoding once", "one twice")

    @property
    def num_rows(self) -> int:
        """The number N of cells in the table."""
        return math.prod(self.sizes) if self.encodings is None else len(self.encodings)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over sizes, metrics, encodings and costs, in hex.

        A table without encodings or costs has the digest of earlier releases.
        """
        sha = hashlib.sha256(repr((self.sizes, self.gene_names)).encode())
        for name, values in self.metrics.items():
            sha.update(name.encode() + np.ascontiguousarray(values).tobytes())
        if self.encodings is not None:
            sha.update(np.ascontiguousarray(self.encodings).tobytes())
        if self.costs:
            sha.update(repr(("costs", *sorted(set(self.costs)))).encode())
        return sha.hexdigest()

    def row(self, encoding: types.Array) -> types.Array:
        """Finds the rows of encodings; may be jitted and vmapped.

        Args:
          encoding: i32[..., G].

        Returns:
          i32[...]; N where the table does not contain the encoding.
        """
        if self.encodings is None:
            radix = np.cumprod((1, *self.sizes[:0:-1]))[::-1].astype(np.int32)
            return (encoding * radix).sum(-1, dtype=jnp.int32)
        found = (encoding[..., None, :] == self.encodings).all(-1)
        return jnp.where(found.any(-1), found.argmax(-1), self.num_rows)

    def cells(self, rows: np.ndarray) -> np.ndarray:
        """Returns i32[N, G], the encodings of rows.

        Args:
          rows: i[N].
        """
        if self.encodings is not None:
            return self.encodings[rows]
        return np.stack(np.unravel_index(rows, self.sizes), 1).astype(np.int32)

    def metric(self, text: str) -> directions.Metric:
        """Returns a metric of the table with its direction.

        Args:
          text: NAME, minimize:NAME, maximize:NAME or -NAME, as ``directions.parse``
            reads it.

        Raises:
          ValueError: the table has no such metric, or the text is none of these.
        """
        metric = directions.parse(text, self.costs)
        self.column(metric.name)
        return metric

    def column(self, name: str) -> np.ndarray:
        """Returns a metric f32[N], with NaN where it is unknown.

        An infinity is unknown too: as a score it would be the best or worst of all.

        Raises:
          ValueError: the table has no such metric.
        """
        if name not in self.metrics:
            raise ValueError(
                f"metric must be one of {', '.join(self.metrics)}, got {name!r} of "
                f"table {self.name}. {registry.nearest(name, self.metrics)}".rstrip()
            )
        values = self.metrics[name]
        return np.where(np.isinf(values), np.nan, values).astype(values.dtype)

    def _need(self, condition: object, rule: str, value: object) -> None:
        if not condition:
            raise ValueError(
                f"table {self.name} must have {rule}, got {value}. Correct its file."
            )


def write_npz(path: str | os.PathLike, table: Table) -> None:
    """Writes a table to one compressed file.

    Args:
      path: a path that ends in .npz, in an existing folder.
      table: the table to write.
    """
    arrays = {
        "sizes": np.array(table.sizes, np.int32),
        "gene_names": np.array(table.gene_names),
    }
    if table.encodings is not None:
        arrays["encodings"] = table.encodings.astype(np.int32)
    if table.costs:
        arrays["costs"] = np.array(table.costs)
    metrics = {name: np.float32(values) for name, values in table.metrics.items()}
    np.savez_compressed(path, **arrays, **metrics)


def read_npz(path: str | os.PathLike, *, name: str | None = None) -> Table:
    """Reads a table from its file.

    Args:
      path: an npz in the format of this module.
      name: name of the table in messages; None means the path.

    Raises:
      ValueError: the file does not exist or is no npz, an array is missing, or the
        arrays do not fit each other.
    """
    path, name = pathlib.Path(path), name or str(path)
    if not os.path.isfile(path):
        raise ValueError(
            f"table must be an existing npz file, got {str(path)!r}. Check the path."
        )
    try:
        arrays = npz.read(path)
    except ValueError as error:
        raise ValueError(
            f"table must be a readable npz of plain arrays, got {str(path)!r} "
            f"({error}). Write it with tables.write_npz."
        ) from error
    missing = [key for key in FIXED[:2] if key not in arrays]
    if missing:
        raise ValueError(
            f"table must hold sizes and gene_names, got {str(path)!r} without "
            f"{', '.join(missing)}. Make it with a converter of jnas.tables."
        )
    for key, array in arrays.items():
        kinds = {"gene_names": "U", "costs": "U", "sizes": "iu", "encodings": "iu"}
        kinds = kinds.get(key, "iuf")
        if array.dtype.kind not in kinds:
            raise ValueError(
                f"table must hold {key} of another type, got {array.dtype} in "
                f"{str(path)!r}. Names are text, genes integers, metrics numbers."
            )
    return Table(
        name,
        tuple(map(int, np.ravel(arrays["sizes"]))),
        tuple(map(str, np.ravel(arrays["gene_names"]))),
        {k: v.astype(np.float32) for k, v in arrays.items() if k not in FIXED},
        arrays.get("encodings"),
        tuple(map(str, np.ravel(arrays.get("costs", ())))),
    )
