"""The policy over genes that a gradient search's logits give."""

import itertools

import jax
import numpy as np
import pytest

from jnas import spaces

SPACES = [spaces.zoo.nasbench201(), spaces.zoo.tiny(), spaces.zoo.darts()]


def slow(space, logits):
    """Enumerates the subsets of each node's inputs, in float64."""
    rows = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    found = []
    for c in range(len(space.cells)):
        named = [[n != "none" for n in space.candidates_of(c, e)]
                 for e in range(len(space.edges))]  # fmt: skip
        kept = [rows[c, e][named[e]] for e in range(len(space.edges))]
        policies = [np.exp(k) / np.exp(k).sum() for k in kept]
        for node in range(space.num_inputs, space.num_inputs + space.num_nodes):
            edges = [e for e, (_, to) in enumerate(space.edges) if to == node]
            subsets = list(itertools.combinations(edges, space.num_kept))
            strength = np.array(
                [np.exp(sum(kept[e].max() for e in s)) for s in subsets]
            )
            chances = strength / strength.sum()
            if len(subsets) > 1:
                found.append(chances)
            for place in range(space.num_kept):
                pairs = zip(chances, subsets, strict=True)
                found.append(sum(p * policies[s[place]] for p, s in pairs))
    return found


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_gene_logits(space):
    """Distributions over each gene's values, the same jitted, as enumerated."""
    logits = jax.random.normal(jax.random.key(0), space.shape) * 2
    policy = np.asarray(jax.jit(lambda x: spaces.gene_logits(space, x))(logits))
    np.testing.assert_allclose(policy, spaces.gene_logits(space, logits), rtol=1e-5)
    chances = np.exp(policy)
    np.testing.assert_allclose(chances.sum(-1), 1, atol=1e-5)
    for row, size in zip(chances, space.sizes, strict=True):
        assert (row[size:] == 0).all() and (row[:size] > 0).all()
    if space.num_kept is None:
        wanted = np.asarray(jax.nn.softmax(logits[0], -1))
    else:
        wanted = slow(space, np.asarray(logits, np.float64))
    for row, want in zip(chances, wanted, strict=True):
        np.testing.assert_allclose(row[: len(want)], want, atol=1e-5)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_its_mode_is_what_the_gradient_search_derives(space):
    """Inputs' genes always; operations' genes where every edge is kept."""
    for seed in range(10):
        logits = jax.random.normal(jax.random.key(seed), space.shape)
        mode = np.asarray(spaces.gene_logits(space, logits)).argmax(-1)
        derived = np.asarray(space.discretize(logits))
        for name, a, b in zip(space.gene_names, mode, derived, strict=True):
            if space.num_kept is None or name.endswith("inputs"):
                assert a == b, name
