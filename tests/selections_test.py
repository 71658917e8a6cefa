"""Tests of how cells are derived from weights, against plain loops over edges."""

import dataclasses
import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jnas import networks, registry, spaces
from jnas.gradient import segments, selections
from jnas.spaces import genotype_text

MIXED = spaces.CellSpace(  # none stands elsewhere on each edge
    "mixed",
    ("cell",),
    2,
    2,
    (
        (
            ("none", "skip_connect", "sep_conv_3x3"),
            ("skip_connect", "none", "max_pool_3x3"),
            ("avg_pool_3x3", "skip_connect", "none"),
            ("none", "max_pool_3x3", "skip_connect"),
            ("sep_conv_3x3", "none", "skip_connect"),
        ),
    ),
    2,
    (2, 3),
)
WIRING = dataclasses.replace(  # one candidate an edge: inputs alone are chosen
    MIXED,
    candidates=(
        tuple(
            (name,)
            for name in (
                "skip_connect",
                "sep_conv_3x3",
                "skip_connect",
                "sep_conv_3x3",
                "max_pool_3x3",
            )
        ),
    ),
)
ONLY_SKIPS = spaces.zoo.tiny().with_operations(["skip_connect"])
SPACES = {
    "tiny": spaces.zoo.tiny(),
    "darts": spaces.zoo.darts(),
    "nasbench201": spaces.zoo.nasbench201(),
    "s1": spaces.zoo.s1(),
    "s2": spaces.zoo.s2(),
    "mixed": MIXED,
    "wiring": WIRING,
    "only_skips": ONLY_SKIPS,
}


@functools.cache
def derive(name, selection="strongest", max_skips=None, cell=0):
    """Compiles a selection on a space: weights -> (encoding, one-hot weights)."""
    space, chosen = SPACES[name], registry.SELECTIONS[selection]
    if max_skips is not None:
        chosen = selections.limit_skips(chosen, max_skips, cell=cell)

    def run(weights):
        encoding = chosen(space, weights)
        return encoding, space.weights(encoding)

    return jax.jit(run)


def rows_of(seed, space, skips=0.0):
    """Softmax rows of random logits; positive skips raise those of skips."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=space.shape)
    for c, e, o in np.ndindex(*space.shape):
        logits[c, e, o] += skips * (space.candidates_of(c, e)[o] == "skip_connect")
    powers = np.exp(logits)
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


def strongest_by_loop(space, weights, cell):
    """[(edge, candidate)] that a cell keeps: DARTS' rule, node after node."""
    kept = []
    for node in dict.fromkeys(target for _, target in space.edges):
        own = [e for e, (_, target) in enumerate(space.edges) if target == node]
        best = {}
        for e in own:
            names = space.candidates_of(cell, e)
            may = [
                o for o, n in enumerate(names) if space.num_kept is None or n != "none"
            ]
            best[e] = max(may, key=lambda o, e=e: weights[cell, e, o])  # first of equal
        own.sort(key=lambda e: -weights[cell, e, best[e]])  # keeps the order of equals
        kept += [(e, best[e]) for e in own[: space.num_kept or len(own)]]
    return kept


def one_hot(space, cells):
    """Weights f32[C, E, O] of kept edges."""
    weights = np.zeros(space.shape, np.float32)
    for cell, kept in enumerate(cells):
        for edge, operation in kept:
            weights[cell, edge, operation] = 1
    return weights


def limited_by_loop(space, weights, max_skips, cell):
    """Deletes the weakest kept skip and derives again, while there are too many.

    Ends as well where each that is kept was deleted before, for want of anything else.
    """
    weights = np.array(weights)
    while True:
        cells = [strongest_by_loop(space, weights, c) for c in range(len(space.cells))]
        skips = [
            (e, o)
            for e, o in sorted(cells[cell])
            if space.candidates_of(cell, e)[o] == "skip_connect"
        ]
        left = [place for place in skips if weights[cell, *place] > -np.inf]
        if len(skips) <= max_skips or not left:
            return one_hot(space, cells), len(skips)
        weakest = min(left, key=lambda place: weights[cell, *place])
        weights[cell, *weakest] = -np.inf


def num_skips(space, cell_weights, cell):
    """Counts the skips of a one-hot cell."""
    return sum(
        cell_weights[cell, e, o] == 1
        and space.candidates_of(cell, e)[o] == "skip_connect"
        for e, o in np.ndindex(*space.shape[1:])
    )


@pytest.mark.parametrize("name", SPACES)
def test_strongest_is_the_rule_of_darts(name):
    """Against a loop over nodes, and the space's own; jit == eager."""
    space = SPACES[name]
    for seed in range(4):
        weights = rows_of(seed, space)
        encoding, cell = derive(name)(weights)
        cells = [strongest_by_loop(space, weights, c) for c in range(len(space.cells))]
        np.testing.assert_array_equal(cell, one_hot(space, cells))
        np.testing.assert_array_equal(encoding, space.strongest(weights))
        np.testing.assert_array_equal(encoding, selections.strongest(space, weights))


def test_an_edge_below_the_threshold_becomes_none():
    """NAS-Bench-201, with sigmoids: 0.85 is not above itself, a little more is."""
    space = SPACES["nasbench201"]
    weights = np.full(space.shape, 0.1, np.float32)
    weights[0, :, 0] = 1  # what none weighs does not matter
    weights[0, 0, 2:4] = 0.8, 0.84
    weights[0, 1, 2:4] = 0.86, 0.9
    weights[0, 2, 1] = 0.85
    weights[0, 3, 4] = np.nextafter(np.float32(0.85), np.float32(1))
    encoding, cell = derive("nasbench201", "above_threshold")(weights)
    np.testing.assert_array_equal(cell[0].argmax(-1), [0, 3, 0, 4, 0, 0])
    assert (cell.sum(-1) == 1).all()
    names = {edge[:2]: edge[2] for edge in space.genotype(encoding).cells[0][1].edges}
    assert names[0, 1] == "none" and names[0, 2] == "nor_conv_3x3"
    lower = selections.above_threshold(space, weights, threshold=0.82)
    np.testing.assert_array_equal(lower, [3, 3, 1, 4, 0, 0])
    np.testing.assert_array_equal(encoding, selections.above_threshold(space, weights))


@pytest.mark.parametrize("name", ["darts", "mixed", "s1"])
def test_nodes_that_choose_inputs_keep_them_whatever_they_weigh(name):
    """As strongest does: two inputs, even where nothing is above the threshold."""
    space = SPACES[name]
    for seed in range(4):
        weights = rows_of(seed, space)
        got, cell = derive(name, "above_threshold")(weights)
        np.testing.assert_array_equal(got, space.strongest(weights))
        kept = space.num_kept * space.num_nodes
        assert (cell.sum((1, 2)) == kept).all()


@pytest.mark.parametrize("max_skips", range(5))
@pytest.mark.parametrize("name", ["darts", "nasbench201", "s1", "s2", "mixed"])
def test_skips_are_limited_as_by_a_loop(name, max_skips):
    """At most so many, over weights that favour skips more and more.

    Fewer are left alone, and so is every other cell. In s1 some edges offer no skip.
    """
    space, limit = SPACES[name], derive(name, max_skips=max_skips)
    cut = False
    for seed, favour in enumerate((0, 1, 2, 3, 3, 8)):
        weights = rows_of(seed, space, favour)
        encoding, cell = limit(weights)
        plain, unlimited = derive(name)(weights)
        want, count = limited_by_loop(space, weights, max_skips, 0)
        np.testing.assert_array_equal(cell, want)
        assert num_skips(space, cell, 0) == count <= max_skips
        if num_skips(space, unlimited, 0) <= max_skips:
            np.testing.assert_array_equal(encoding, plain)
        else:
            cut = True
        np.testing.assert_array_equal(cell[1:], unlimited[1:])
    assert cut or (name, max_skips) in {("mixed", 4), ("s1", 4)}  # the test can fail


@hypothesis.given(st.data())
@hypothesis.settings(deadline=None, max_examples=60)
def test_any_weights_are_limited_as_by_a_loop(data):
    """Quarters, so that many are equal, and the first of the weakest goes."""
    name = data.draw(st.sampled_from(["tiny", "mixed"]))
    max_skips, space = data.draw(st.integers(0, 3)), SPACES[name]
    size = int(np.prod(space.shape))
    drawn = data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size))
    weights = np.array(drawn, np.float32).reshape(space.shape) / 4
    _, cell = derive(name, max_skips=max_skips)(weights)
    want, _ = limited_by_loop(space, weights, max_skips, 0)
    np.testing.assert_array_equal(cell, want)


def test_compiled_or_not_the_limit_is_the_same():
    """jit == eager, and vmap == loop."""
    space, weights = (
        SPACES["s2"],
        np.stack([rows_of(s, SPACES["s2"], 2) for s in (0, 1)]),
    )
    limit = functools.partial(selections.limit_skips(selections.strongest, 2), space)
    together = jax.jit(jax.vmap(limit))(weights)
    for one, encoding in zip(weights, together, strict=True):
        np.testing.assert_array_equal(limit(one), encoding)
        np.testing.assert_array_equal(derive("s2", max_skips=2)(one)[0], encoding)


def test_another_cell_and_another_selection_may_be_limited():
    """The reduction cell, and FairDARTS' selection on NAS-Bench-201."""
    for name in ("darts", "s1"):  # skips stand alike in the cells of one of them
        space = SPACES[name]
        weights = rows_of(0, space, 4)
        _, cell = derive(name, max_skips=1, cell=1)(weights)
        want, count = limited_by_loop(space, weights, 1, 1)
        np.testing.assert_array_equal(cell, want)
        assert count == 1 < num_skips(space, cell, 0)
    space = SPACES["nasbench201"]
    weights = np.full(space.shape, 0.5, np.float32)
    weights[0, :, 1] = [0.9, 0.91, 0.92, 0.93, 0.7, 0.99]
    _, cell = derive("nasbench201", "above_threshold", max_skips=2)(weights)
    # the strongest two skips; the others' edges have nothing else above 0.85
    np.testing.assert_array_equal(cell[0].argmax(-1), [0, 0, 0, 1, 0, 1])


@pytest.mark.parametrize("max_skips", [0, 3])
def test_a_space_of_skips_alone_has_an_end(max_skips):
    """There is nothing else to derive: a valid cell of skips."""
    encoding, cell = derive("only_skips", max_skips=max_skips)(rows_of(0, ONLY_SKIPS))
    assert num_skips(ONLY_SKIPS, cell, 0) == 4
    ONLY_SKIPS.genotype(encoding)


def test_a_skip_that_cannot_go_does_not_protect_others():
    """Node 2 must keep its weak skip; node 3 has two other inputs and takes them."""
    weights = np.array([0.1, 0.5, 0.9, 0.8, 0.2], np.float32).reshape(1, 5, 1)
    _, cell = derive("wiring", max_skips=1)(weights)
    np.testing.assert_array_equal(cell[0, :, 0], [1, 1, 0, 1, 1])
    want, _ = limited_by_loop(SPACES["wiring"], weights, 1, 0)
    np.testing.assert_array_equal(cell, want)


def test_the_number_of_skips_is_checked():
    """Below 0 there is no cell."""
    with pytest.raises(ValueError, match="max_skips must be at least 0, got -1. Leave"):
        selections.limit_skips(selections.strongest, -1)


@pytest.mark.parametrize("name", ["tiny", "darts", "mixed"])
def test_without_none_derives_the_same_cells(name):
    """Genes, genotypes and cells are the same; weights lose the column of none."""
    space = SPACES[name]
    without = space.without_none()
    assert without.sizes == space.sizes and without.gene_names == space.gene_names
    assert "none" not in without.operations and without.without_none() == without
    cells, edges, operations = space.shape
    assert without.shape == (cells, edges, operations - 1)
    for seed in range(4):
        encoding = spaces.encoding.sample(jax.random.key(seed), space.sizes)
        assert without.genotype(encoding) == space.genotype(encoding)
        weights = rows_of(seed, space)
        is_none = [
            [[n == "none" for n in space.candidates_of(c, e)] for e in range(edges)]
            for c in range(cells)
        ]
        left = weights[~np.array(is_none)].reshape(without.shape)
        np.testing.assert_array_equal(without.strongest(left), space.strongest(weights))


def test_lists_of_candidates_stay_lists():
    """Alike or edge by edge, as they were given; S3 is S2 and none."""
    assert spaces.zoo.tiny().without_none().candidates == (
        "max_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
    )
    s3, s2 = spaces.zoo.s3().without_none(), spaces.zoo.s2()
    assert s3.sizes == s2.sizes == spaces.zoo.s3().sizes
    for c, e in np.ndindex(*s2.shape[:2]):
        assert s3.candidates_of(c, e) == s2.candidates_of(c, e)
    assert MIXED.without_none().candidates_of(0, 1) == ("skip_connect", "max_pool_3x3")
    assert MIXED.without_none().candidates_of(0, 4) == ("sep_conv_3x3", "skip_connect")


@hypothesis.given(
    st.lists(
        st.lists(st.integers(0, 5), min_size=6, max_size=6), min_size=4, max_size=4
    ),
    st.integers(1, 7),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_strongest_candidates_are_those_that_sort_first(rows, count):
    """Against NumPy's stable sort, with many ties; as many as there are at most."""
    weights = np.array(rows, np.float32).reshape(2, 2, 6) / 4
    want = np.zeros(weights.shape, bool)
    firsts = np.argsort(-weights, axis=-1, kind="stable")[..., :count]
    np.put_along_axis(want, firsts, True, -1)
    got = segments.strongest_candidates(jnp.asarray(weights), count / 6)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("seed", range(6))
def test_sparse_genotypes_leave_out_what_is_small(seed):
    """The DARTS space against a loop: edges, nodes without input, and what reads them.

    Sigmoids are small in the normal cell, so that edges and nodes go; in the reduction
    cell all stay.
    """
    space = spaces.zoo.darts().without_none()
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 0.9, size=space.shape).astype(np.float32)
    weights[1] = 0.9 + 0.05 * rng.random(space.shape[1:])
    names = space.candidates_of(0, 0)
    found = dict(selections.sparse_genotype(space, weights).cells)
    kept, left, start = [], [0, 1], 0
    for node in range(2, 6):
        own = {source: weights[0, start + source] for source in range(node)}
        start += node
        best = sorted(own, key=lambda source, own=own: -own[source].max())[:2]
        inputs = [s for s in best if s in left and own[s].max() >= 0.85]
        kept += [(s, node, names[own[s].argmax()]) for s in sorted(inputs)]
        left += [node] if inputs else []
    normal, reduce = found["normal"], found["reduce"]
    assert sorted(normal.edges) == sorted(kept)
    assert normal.concat == tuple(left[2:])
    assert len(reduce.edges) == 8 and reduce.concat == (2, 3, 4, 5)
    with pytest.raises(ValueError, match="threshold must be at most a weight"):
        selections.sparse_genotype(space, weights, threshold=0.99)


def test_sparse_genotypes_are_networks():
    """A node without input is no part of the cell's output: three nodes wide."""
    space = spaces.zoo.darts().without_none()
    weights = np.full(space.shape, 0.9, np.float32)
    weights[0, 2:5] = 0.1  # node 3
    weights[0, [7, 12]] = 0.89  # of others, edges from it are never among the best
    genotype = selections.sparse_genotype(space, weights)
    assert genotype.cell("normal").concat == (2, 4, 5)
    assert len(genotype.cell("normal").edges) == 6
    read = genotype_text.from_json(genotype_text.to_json(genotype))
    assert read.canonical() == genotype.canonical()
    size = networks.Size(4, 4, 10)
    net = networks.derived(read, size)
    init = jax.eval_shape(net.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), np.float32)
    run = functools.partial(net.apply, train=True, key=jax.random.key(0))
    (outputs, _), _ = jax.eval_shape(run, *init, images)
    assert outputs.shape == (2, 10)
    # the last cell is a normal one of 16 features, three times
    (matrix,) = (
        leaf for leaf in jax.tree.leaves(init[0]["classifier"]) if leaf.ndim > 1
    )
    assert matrix.shape == (3 * 16, 10)
