"""Tests of SGAS: decisions against plain loops over edges, as its code makes them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, registry, spaces, types
from jnas.gradient import hooks, mixing, relaxations
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import sgas
from jnas.training import program

DARTS = spaces.zoo.darts()
NB201 = spaces.zoo.nasbench201()
PLAIN = data.Augment((0.5,), (0.25,))


def unit(values):
    """Maps a list to [0, 1]; zeros where all are equal."""
    low, span = min(values), max(values) - min(values)
    return [(v - low) / span if span > 0 else 0.0 for v in values]


class ByHand:
    """One kind of cell, with lists, as the authors' train_search.py has it."""

    def __init__(self, edges, names, per_node, stability):
        """Begins with every edge undecided."""
        self.edges, self.names, self.per_node = edges, names, per_node
        self.stability, self.history = stability, []
        self.open = [True] * len(edges)
        self.kept = [None] * len(edges)
        self.frozen = [None] * len(edges)

    def epoch(self, logits, due):
        """Sees an epoch's logits; decides if it is due."""
        ops = [o for o, n in enumerate(self.names) if n != "none"]
        importance, shares, certainty = [], [], []
        for e in range(len(self.edges)):
            row = np.exp(logits[e] - logits[e].max())
            row = row / row.sum()
            if not self.open[e]:
                row = self.frozen[e]
            self.frozen[e] = row
            own = row[ops]
            importance.append(own.sum())
            p = own / own.sum()
            shares.append(p)
            certainty.append(1 + sum(q * math.log(q) for q in p) / math.log(len(p)))
        factors = [unit(importance), unit(certainty)]
        if self.stability:
            alike = [
                np.mean([np.minimum(h[e], shares[e]).sum() for h in self.history])
                if self.history else 0.0
                for e in range(len(self.edges))
            ]  # fmt: skip
            factors.append(unit(alike))
            self.history = [*self.history, shares][-4:]
        if not due or not any(self.open):
            return
        score = [math.prod(f[e] for f in factors) for e in range(len(self.edges))]
        best = max((e for e in range(len(self.edges)) if self.open[e]),
                   key=lambda e: (score[e], -e))  # fmt: skip
        self.open[best] = False
        self.kept[best] = ops[int(np.argmax(shares[best]))]
        for node in {to for _, to in self.edges}:
            own = [e for e, (_, to) in enumerate(self.edges) if to == node]
            chosen = [e for e in own if self.kept[e] is not None]
            if self.per_node and len(chosen) >= self.per_node:
                for e in own:
                    self.open[e] = False


def hook_of(space, stability=False, num_epochs=50, **numbers):
    """The hook and a function that calls it at the end of an epoch."""
    search = hooks.Search(
        networks.Supernet(None, None, space),
        mixing.build_weights_of(space, relaxations.softmax),
        spaces.CellSpace.strongest, PLAIN, 4, num_epochs,
    )  # fmt: skip
    hook = sgas.decide_edges(search, stability=stability, **numbers)
    end = jax.jit(hook_lib.at_epoch_end((hook,)))

    def call(state, epoch):
        clock = program.Clock(jnp.int32(epoch), jnp.float32(0), jnp.int32(0))
        return end(jax.random.key(0), clock, state, (None, None))

    return hook, call


@pytest.mark.parametrize("stability", [False, True])
@pytest.mark.parametrize("space", [DARTS, NB201], ids=["darts", "nasbench201"])
def test_every_decision_is_that_of_plain_loops(space, stability):
    """Fifty epochs of drifting logits: eight edges a cell, or all six."""
    hook, call = hook_of(space, stability, every=5)
    rng = np.random.default_rng(3)
    base, drift = (rng.normal(size=space.shape) for _ in range(2))
    state = gradient.GradientState(
        (), jnp.zeros(space.shape), (), (), jnp.ones(space.shape, bool)
    )
    state = state._replace(hooks=hook_lib.begin((hook,), state))
    cells = [
        ByHand(space.edges, space.candidates_of(c, 0), space.num_kept, stability)
        for c in range(len(space.cells))
    ]
    decided = []
    for epoch in range(50):
        logits = np.float32(base * epoch / 20 + drift * np.sin(epoch / 7))
        state, values = call(state._replace(logits=jnp.asarray(logits)), epoch)
        for c, cell in enumerate(cells):
            cell.epoch(np.float64(logits[c]), epoch >= 9 and (epoch - 9) % 5 == 0)
            for e in range(len(space.edges)):
                row = np.flatnonzero(np.asarray(state.mask[c, e]))
                if cell.kept[e] is not None:
                    assert row.tolist() == [cell.kept[e]]
                else:
                    count = space.shape[-1] if cell.open[e] else 0
                    assert len(row) == count
        decided.append(int(values["undecided_rows"]))
    assert decided[8] == sum(len(space.edges) for _ in cells) and decided[-1] == 0
    cell = space.genotype(space.strongest(
        mixing.build_weights_of(space, relaxations.softmax)(state)
    ))  # fmt: skip
    names = space.candidates_of(0, 0)
    for (_, found), by_hand in zip(cell.cells, cells, strict=True):
        kept = {
            (*space.edges[e], names[o])
            for e, o in enumerate(by_hand.kept) if o is not None
        }  # fmt: skip
        assert set(found.edges) == kept


def test_a_shorter_search_decides_by_the_same_shares():
    """Of ten epochs: after the second, then each."""
    _, call = hook_of(NB201, num_epochs=10)
    hook, _ = hook_of(NB201, num_epochs=10)
    state = gradient.GradientState(
        (), jnp.asarray(np.random.default_rng(0).normal(size=NB201.shape)), (), (),
        jnp.ones(NB201.shape, bool),
    )  # fmt: skip
    state = state._replace(hooks=hook_lib.begin((hook,), state))
    left = []
    for epoch in range(10):
        state, values = call(state, epoch)
        left.append(int(values["undecided_rows"]))
    assert left == [6, 6, 5, 4, 3, 2, 1, 0, 0, 0]


@pytest.mark.parametrize(("epochs", "space", "want"), [
    (50, DARTS, [9, 14, 19, 24, 29, 34, 39, 44]),  # 9 + 5 i
    (50, NB201, [9, 16, 23, 30, 37, 44]),
    (25, DARTS, [4, 6, 8, 10, 12, 14, 16, 18]),
])  # fmt: skip
def test_decisions_are_spread_over_the_epochs(epochs, space, want):
    """The paper's own for its space; others end before the last tenth."""
    hook, call = hook_of(space, num_epochs=epochs)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=space.shape))
    mask = jnp.ones(space.shape, bool)
    state = gradient.GradientState((), logits, (), (), mask)
    state = state._replace(hooks=hook_lib.begin((hook,), state))
    seen = []
    for epoch in range(epochs):
        before = np.asarray(state.mask)
        state, _ = call(state, epoch)
        if (before != state.mask).any():
            seen.append(epoch)
    assert seen == want


def test_removed_options_are_not_chosen():
    """One that is masked stays so, whatever its logit; with edge logits too."""
    hook, call = hook_of(NB201, num_epochs=6, warm_up=0, every=1)
    logits = jnp.zeros(NB201.shape).at[..., 3].set(5.0).at[..., 4].set(1.0)
    mask = jnp.ones(NB201.shape, bool).at[..., 3].set(False)
    for arch in (logits, types.ArchParams(logits, jnp.zeros(NB201.shape[:2]))):
        state = gradient.GradientState((), arch, (), (), mask)
        state = state._replace(hooks=hook_lib.begin((hook,), state))
        for epoch in range(6):
            state, _ = call(state, epoch)
        assert (np.asarray(state.mask).argmax(-1) == 4).all()
        assert (np.asarray(state.mask).sum(-1) == 1).all()


def test_an_option_called_none_is_one_outside_of_cells():
    """Only in cells it is left out."""
    space = spaces.ChoiceSpace("mine", {"attention": ("none", "se")}, "mine")
    hook, call = hook_of(space, num_epochs=2, warm_up=0, every=1)
    logits = {"attention": jnp.array([9.0, 0])}
    mask = {"attention": jnp.ones(2, bool)}
    state = gradient.GradientState((), logits, (), (), mask)
    state, _ = call(state._replace(hooks=hook_lib.begin((hook,), state)), 0)
    np.testing.assert_array_equal(state.mask["attention"], [True, False])


def test_the_row_has_its_papers_numbers():
    """DARTS' but for the decisions."""
    row = registry.METHODS["sgas"]()
    assert (row.epochs, row.batch_size, row.features, row.layers) == (50, 64, 16, 8)
    assert row.hooks == ("watch", "decide_edges")
