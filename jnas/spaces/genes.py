"""Genes that each choose the option of one row: encoding, weights and genotype.

Rows of equally many options are stacked into one leaf of the weights, so that a
relaxation is a few array operations however many rows there are.
"""

import dataclasses
import functools
import math
import reprlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.spaces import encoding as encodings
from jnas.spaces import genotype as rules
from jnas.spaces import genotype_choices as genotypes
from jnas.spaces import lookups as lookup_tables

MOST_ROWS, MOST_OPTIONS = 10_000, 1_000


@dataclasses.dataclass(frozen=True)
class Genes:
    """G genes, one a row.

    Attributes:
      names: of the rows.
      options: names of each row's options.
      leaves: (name of a leaf, its genes); one number alone is a leaf of one row, f32[O]
        without a leading axis.

    Raises:
      ValueError: names that are not printable or occur twice, a row without options.
    """

    names: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    leaves: tuple[tuple[str, Any], ...]

    def __post_init__(self):
        """Checks every name."""
        _check(0 < len(self.names) <= MOST_ROWS, "rows", "be 1 to 10000", self.names)
        different = len(set(self.names)) == len(self.names)
        _check(different, "rows", "have different names", self.names)
        for name, options in zip(self.names, self.options, strict=True):
            _check_name("row", name)
            ok = type(options) is tuple and 0 < len(options) <= MOST_OPTIONS
            _check(ok, f"options of {name}", "be a tuple of 1 to 1000 names", options)
            for option in options:
                _check_name(f"option of {name}", option)
            ok = len(set(options)) == len(options)
            _check(ok, f"options of {name}", "be different", options)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each gene."""
        return tuple(map(len, self.options))

    @functools.cached_property
    def order(self) -> np.ndarray:
        """The gene of each row, i32[R], as JAX orders the leaves: by name."""
        found = [[g] if isinstance(g, int) else g for _, g in sorted(self.leaves)]
        return np.concatenate(found).astype(np.int32)

    @functools.cached_property
    def lookups(self) -> lookup_tables.Tables:
        """The arrays that map genes to rows and options."""
        counts, rows = np.array(self.sizes), np.arange(len(self.names), dtype=np.int32)
        values = np.tile(np.arange(counts.max(), dtype=np.int32), (len(rows), 1))
        values[values >= counts[self.order][:, None]] = -1
        return lookup_tables.Tables(
            self.names,
            self.sizes,
            choices=rows,
            subsets=rows[:, None, None],
            values=values,
            inputs=np.full(len(rows), -1, np.int32),
            operations=self.order[:, None],
        )

    def like(self, of_row: tuple) -> dict[str, Any]:
        """Returns a pytree like the weights without their last axis.

        Args:
          of_row: a value for each gene.
        """
        return {
            leaf: of_row[genes]
            if isinstance(genes, int)
            else tuple(of_row[gene] for gene in genes)
            for leaf, genes in self.leaves
        }

    def weights(self, encoding: types.Encoding) -> dict[str, types.Array]:
        """Converts an encoding i32[G] to one-hot weights; may be jitted and vmapped.

        Returns:
          leaf -> f32[rows, O], or f32[O].
        """
        encoding = jnp.asarray(encoding)
        found = {}
        for leaf, genes in self.leaves:
            first = genes if isinstance(genes, int) else genes[0]
            chosen = encoding[genes if isinstance(genes, int) else np.array(genes)]
            count = len(self.options[first])
            found[leaf] = jax.nn.one_hot(chosen, count, dtype=jnp.float32)
        return found

    def strongest(self, weights: dict[str, types.Array]) -> types.Encoding:
        """Returns i32[G], the option of the largest weight of each row."""
        found = jnp.zeros(len(self.names), jnp.int32)
        for leaf, genes in self.leaves:
            best = jnp.argmax(jnp.asarray(weights[leaf]), -1).astype(jnp.int32)
            at = genes if isinstance(genes, int) else np.array(genes)
            found = found.at[at].set(best)
        return found

    def genotype(self, space: str, encoding: types.Encoding) -> genotypes.Choices:
        """Converts an encoding to a genotype, on the host.

        Args:
          space: its name.
          encoding: i32[G].

        Raises:
          ValueError: the encoding has a wrong length, or a gene is out of its range.
        """
        number = encodings.index(encoding, self.sizes)  # checks every gene
        values = encodings.from_index(number, self.sizes)
        rows = zip(self.names, self.options, values, strict=True)
        return genotypes.Choices(space, tuple((n, o[v]) for n, o, v in rows))

    def encode(self, genotype: Any) -> np.ndarray:
        """Converts a genotype to its encoding i32[G], on the host.

        The order of its choices does not matter.

        Args:
          genotype: the genotype.

        Raises:
          GenotypeError: it is no genotype of these rows.
        """
        todo = "Use a space that contains this genotype."
        ok = isinstance(genotype, genotypes.Choices)
        rules.check(ok, "genotype", "be one of choices", genotype, todo)
        chosen = dict(genotype.choices)
        lost = [name for name in self.names if name not in chosen]
        rules.check(not lost, "choices", f"hold {lost[:1]}", list(chosen), todo)
        more = [name for name in chosen if name not in self.names]
        rule = f"be of rows {self.names[0]} to {self.names[-1]}"
        rules.check(not more, "choices", rule, more, todo)
        found = []
        for name, options in zip(self.names, self.options, strict=True):
            rule = f"be one of {', '.join(options)}"
            ok = chosen[name] in options
            rules.check(ok, f"choice of {name}", rule, chosen[name], todo)
            found.append(options.index(chosen[name]))
        return np.array(found, np.int32)


class GeneSpace:
    """What spaces of one gene a row have in common: they have a name and genes."""

    name: str
    genes: Genes

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each gene."""
        return self.genes.sizes

    @property
    def gene_names(self) -> tuple[str, ...]:
        """The name of each gene's row."""
        return self.genes.names

    @property
    def num_architectures(self) -> int:
        """The number of encodings."""
        return math.prod(self.sizes)

    @property
    def lookups(self) -> lookup_tables.Tables:
        """The arrays that map genes to rows and options."""
        return self.genes.lookups

    @property
    def choices(self) -> dict[str, Any]:
        """The option names of each row, like the weights without their last axis."""
        return self.genes.like(self.genes.options)

    @property
    def row_names(self) -> dict[str, Any]:
        """The name of each row, like the weights without their last axis."""
        return self.genes.like(self.genes.names)

    def weights(self, encoding: types.Encoding) -> types.Weights:
        """Converts an encoding i32[G] to one-hot weights; may be jitted and vmapped."""
        return self.genes.weights(encoding)

    def strongest(self, weights: types.Weights) -> types.Encoding:
        """Returns i32[G], the option of the largest weight of each row."""
        return self.genes.strongest(weights)

    def genotype(self, encoding: types.Encoding) -> genotypes.Choices:
        """Converts an encoding i32[G] to a genotype, on the host.

        Raises:
          ValueError: the encoding has a wrong length, or a gene is out of its range.
        """
        return self.genes.genotype(self.name, encoding)

    def encode(self, genotype: genotypes.Choices) -> np.ndarray:
        """Converts a genotype to its encoding i32[G], on the host.

        Raises:
          GenotypeError: the space does not contain it.
        """
        return self.genes.encode(genotype)


def _check_name(what: str, name: Any) -> None:
    ok = isinstance(name, str) and 0 < len(name) <= rules.MAX_NAME
    ok = ok and name.isprintable()
    _check(ok, what, f"be 1 to {rules.MAX_NAME} printable characters", name)


def _check(condition: Any, name: str, rule: str, value: Any) -> None:
    if not condition:
        raise ValueError(
            f"{name} must {rule}, got {reprlib.repr(value)}. Correct the space."
        )
