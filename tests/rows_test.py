"""Tests of spaces.rows and ChoiceSpace: any space's weights, as a table and by name."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import registry, spaces
from jnas.spaces import genotype_text, lookups, rows

MIXED = spaces.ChoiceSpace(
    "mixed",
    {
        "pool": ("max", "mean"),
        "block": (("a", "b", "c"), ("c", "a", "b")),
        "fixed": ("only",),
    },
    "none",
)
SPACES = {
    "mixed": MIXED,
    "tiny_chain": spaces.zoo_chains.tiny_chain(),
    "proxyless": spaces.zoo_chains.proxyless(),
    "nasbench201": spaces.zoo.nasbench201(),
    "darts": spaces.zoo.darts(),
}


class Bare:
    """A user's own class with what the protocol asks for, and nothing more."""

    name, supernet = "bare", "none"
    sizes, gene_names = (3, 2), ("second", "first")
    choices = {"x": ("p", "q"), "y": ("r", "s", "t")}

    def weights(self, encoding):
        """The first gene is that of the second leaf."""
        return {
            "x": jax.nn.one_hot(encoding[1], 2),
            "y": jax.nn.one_hot((encoding[0] + 1) % 3, 3),
        }


def random_weights(space, seed=0):
    """Positive weights, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.random(s.shape) + 0.1, rows.shapes(space))


@pytest.mark.parametrize("name", SPACES)
def test_a_table_holds_the_weights(name):
    """There and back; what fills short rows up is what was asked for."""
    space = SPACES[name]
    weights = random_weights(space)
    table = rows.flat(space, weights, fill=-7.0)
    for leaf, back in zip(
        jax.tree.leaves(weights),
        jax.tree.leaves(rows.unflat(space, table)),
        strict=True,
    ):
        np.testing.assert_array_equal(leaf, back)
    counts = [len(row.options) for row in rows.rows(space)]
    assert len(table) == len(counts)
    for row, count in zip(table, counts, strict=True):
        assert (row[count:] == -7).all() and (row[:count] > 0).all()


@pytest.mark.parametrize("name", ["mixed", "tiny_chain", "proxyless"])
def test_tables_are_read_off_the_weights(name):
    """The same as the space's own, whatever the order of leaves and genes."""
    space = SPACES[name]
    for own, found in zip(space.lookups, rows._read_off(space), strict=True):
        np.testing.assert_array_equal(np.asarray(own), np.asarray(found))


def test_a_bare_class_has_tables_too():
    """Also under jit, where they are read off while another function is traced."""
    tables = jax.jit(lambda x: (rows.tables(Bare()), x)[1])
    assert tables(1.0) == 1.0
    found = rows.tables(Bare())
    np.testing.assert_array_equal(found.operations, [[1], [0]])
    np.testing.assert_array_equal(found.values, [[0, 1, -1], [1, 2, 0]])
    assert rows.options(Bare()) == ("p", "q", "r", "s", "t")


def test_genes_that_share_a_row_have_no_table():
    """Nor does one that changes two rows; the message names the gene."""

    class Shared(Bare):
        def weights(self, encoding):
            both = jax.nn.one_hot(encoding[1], 2)
            return {"x": both, "y": jnp.append(both, 0.0)}

    with pytest.raises(ValueError, match="gene second of space bare must choose the"):
        rows.tables(Shared())


@pytest.mark.parametrize("name", ["mixed", "tiny_chain", "proxyless"])
def test_encodings_come_back(name):
    """Of genotypes, their files, and one-hot weights: each row's own option."""
    space = SPACES[name]
    for seed in range(5):
        encoding = spaces.encoding.sample(jax.random.key(seed), space.sizes)
        genotype = space.genotype(encoding)
        text = genotype_text.to_json(genotype)
        assert json.loads(text)["version"] == 2
        if space.name in registry.SPACES:
            assert genotype_text.parse(genotype_text.short_form(genotype)) == genotype
        np.testing.assert_array_equal(space.encode(genotype), encoding)
        weights = space.weights(encoding)
        np.testing.assert_array_equal(space.strongest(weights), encoding)
        chosen = dict(genotype.choices)
        named = rows.named(space, weights)
        for group, of_group in named.items():
            for row, own in of_group.items():
                full = row if group == space.name else f"{group}/{row}"
                assert own[chosen[full]] == 1 and sum(own.values()) == 1
        for group, of_group in named.items():
            own = [n.rpartition("/") for n in space.gene_names]
            own = [name for before, _, name in own if (before or space.name) == group]
            assert list(of_group) == own


def test_a_choice_space_by_hand():
    """Leaves, genes and options of the example."""
    assert MIXED.gene_names == ("pool", "block/0", "block/1", "fixed")
    assert MIXED.sizes == (2, 3, 3, 1) and MIXED.num_architectures == 18
    weights = MIXED.weights(jnp.array([1, 2, 0, 0]))
    np.testing.assert_array_equal(weights["pool"], [0, 1])
    np.testing.assert_array_equal(weights["block"], [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(weights["fixed"], [1])
    assert MIXED.genotype([1, 2, 0, 0])["block/1"] == "c"
    assert rows.options(MIXED) == (
        "block/a", "block/b", "block/c", "mixed/only", "mixed/max", "mixed/mean",
    )  # fmt: skip
    assert hash(MIXED) == hash(spaces.ChoiceSpace("mixed", MIXED.leaves, "none"))
    every = {
        tuple(MIXED.encode(MIXED.genotype(e)))
        for e in itertools.product(*map(range, MIXED.sizes))
    }
    assert len(every) == 18


BAD_SPACES = {
    "options of block must be equally many": {"block": (("a",), ("b", "c"))},
    "options of pool must be different": {"pool": ("max", "max")},
    "options of pool/0 must be a tuple of 1 to": {"pool": ((),)},
    "option of pool must be 1 to 100 printable": {"pool": ("a\n",)},
    "rows must be 1 to 10000": {},
    "options of kernel must be a tuple of names": {"kernel": (3, 5)},
    "options of wide must be a tuple of names": {"pool": ("a", "b"), "wide": ()},
    "options of unordered must be a tuple of names": {"unordered": {"a", "b"}},
    "leaves must be a mapping of names to options": ["pool"],
    "leaves must have other names than the space, 'bad'": {
        "bad": (("a", "b"),),
        "0": ("a", "b"),
    },
}


@pytest.mark.parametrize("message", BAD_SPACES)
def test_bad_choice_spaces(message):
    """Each names the leaf or row, and what to do."""
    with pytest.raises(ValueError, match=message) as error:
        spaces.ChoiceSpace("bad", BAD_SPACES[message], "none")
    assert "\n" not in str(error.value)


GOOD = {
    "format": "jnas.genotype",
    "version": 2,
    "space": "tiny_chain",
    "choices": {f"block_0{i}": "skip_connect" for i in range(4)},
}
BAD_FILES = {
    "version must be 2, got 1": {"version": 1},
    "have exactly the keys format, version, space, choices": {"more": 1},
    "format must be 'jnas.genotype'": {"format": "other"},
    "choices must be an object": {"choices": []},
    "choices must be a tuple of at least one": {"choices": {}},
    "option of block_00 must be 1 to 100 printable": {"choices": {"block_00": 3}},
    "choice of block_01 must be one of skip_connect, mbconv_3x3_e3": {
        "choices": GOOD["choices"] | {"block_01": "max_pool_3x3"}
    },
    "choices must hold \\['block_03'\\]": {
        "choices": {f"block_0{i}": "skip_connect" for i in range(3)}
    },
    "choices must be of rows block_00 to block_03, got \\['block_04'\\]": {
        "choices": GOOD["choices"] | {"block_04": "skip_connect"}
    },
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_bad_files_of_choices(message):
    """Strict, like those of cells: one line, with what was found."""
    with pytest.raises(genotype_text.GenotypeError, match=message) as error:
        genotype_text.from_json(json.dumps(GOOD | BAD_FILES[message]))
    assert "\n" not in str(error.value)


def test_a_file_of_choices_whose_space_is_unknown():
    """It is read; what needs the space asks for its plug-in."""
    from jnas import networks

    text = json.dumps(GOOD | {"space": "elsewhere"})
    genotype = genotype_text.from_json(text)
    assert dict(genotype.choices) == GOOD["choices"]
    with pytest.raises(genotype_text.GenotypeError, match="with --plugins"):
        networks.derived(genotype, networks.Size(4, 1, 2))


def test_policy_of_rows_of_different_lengths():
    """log_softmax of each row at its gene; -inf where a gene has fewer values."""
    space = SPACES["tiny_chain"]
    logits = jax.tree.map(jnp.asarray, random_weights(space, 3))
    found = np.asarray(spaces.gene_logits(space, logits))
    assert found.shape == (4, 3)
    first = np.asarray(jax.nn.log_softmax(logits["of_3"][0]))
    np.testing.assert_allclose(found[0], first, rtol=1e-6)
    for gene in (1, 2, 3):
        own = np.asarray(jax.nn.log_softmax(logits["of_2"][gene - 1]))
        np.testing.assert_allclose(found[gene, :2], own, rtol=1e-6)
        assert found[gene, 2] == -np.inf


def test_cells_keep_their_names():
    """Groups are cells, rows edges, and options operations, as before."""
    space = SPACES["nasbench201"]
    named = rows.named(space, space.weights(jnp.arange(6) % 5))
    assert list(named) == ["cell"] and list(named["cell"])[1] == "0->2"
    assert named["cell"]["0->1"]["none"] == 1
    assert rows.options(space) == space.operations
    np.testing.assert_array_equal(
        rows.where(space, lookups.SKIP), space.where(lookups.SKIP)
    )
