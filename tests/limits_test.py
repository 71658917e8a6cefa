"""Tests of limits: expected costs and best cells by enumeration, and both searches."""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import data, networks, registry, run, spaces, types
from jnas.discrete import comparison, controllers, objectives, tables
from jnas.discrete import limits as discrete_limits
from jnas.gradient import limits as gradient_limits
from jnas.gradient import (
    methods,
    mixing,
    relaxations,
    search,
    search_pieces,
    segments,
)
from jnas.networks import limits as limits_lib
from jnas.studies import limits as limit_flags
from jnas.studies import scoring, search_discrete, search_gradient

TINY, NB201 = spaces.zoo.tiny(), spaces.zoo.nasbench201()


def made_costs(space, seed=0, base=7.0):
    """Costs drawn at random; none costs nothing."""
    edges = np.random.default_rng(seed).integers(0, 50, space.shape).astype(float)
    return networks.Costs(base, np.where(space.where("none"), 0.0, edges), space)


@functools.cache
def every(space):
    """All encodings of a space, and their one-hot weights in float64."""
    rows = np.array(list(itertools.product(*map(range, space.sizes))), np.int32)
    return rows, np.asarray(jax.jit(jax.vmap(space.weights))(rows), np.float64)


def probabilities(space, weights, cells):
    """The probability of each cell f64[N], node after node, in NumPy."""
    total = np.ones(len(cells))
    none = space.where("none")
    for c in range(len(space.cells)):
        groups = {}
        for e, (_, to) in enumerate(space.edges):
            groups.setdefault(to if space.num_kept else e, []).append(e)
        for edges in groups.values():
            usable = weights[c, edges] * ~(
                none[c, edges] & (space.num_kept is not None)
            )
            shares = usable / usable.sum(-1, keepdims=True)
            chosen = cells[:, c, edges] > 0
            for i in range(len(edges)):
                picked = (cells[:, c, edges[i]] * shares[i]).sum(-1)
                total *= np.where(chosen[:, i].any(-1), picked, 1)
            strength = usable.max(-1)
            subsets = itertools.combinations(range(len(edges)), space.num_kept or 1)
            weight = sum(np.prod(strength[list(one)]) for one in subsets)
            here = chosen.any(-1)
            total *= np.where(here, strength, 1).prod(-1) / weight
    return total


@pytest.mark.parametrize("space", [TINY, NB201], ids=["tiny", "nasbench201"])
def test_expected_cost_is_the_mean_over_all_cells(space):
    """Each cell weighed by its probability; the derived cell is the likeliest."""
    costs, (rows, cells) = made_costs(space), every(space)
    assert len(rows) == space.num_architectures
    for scale in (0.0, 1.0, 4.0):
        logits = scale * jax.random.normal(jax.random.key(1), space.shape)
        weights = np.asarray(jax.nn.softmax(logits, -1), np.float64)
        chance = probabilities(space, weights, cells)
        np.testing.assert_allclose(chance.sum(), 1, rtol=1e-9)
        cost = costs.base + (cells * costs.options).sum((1, 2, 3))
        got = costs.expected(jnp.asarray(weights, jnp.float32))
        np.testing.assert_allclose(got, (chance * cost).sum(), rtol=1e-5)
        kept = networks.derived_chances(space, jnp.asarray(weights, jnp.float32))
        mean = (chance[:, None, None, None] * cells).sum(0)
        np.testing.assert_allclose(kept, mean, atol=1e-6)
    likeliest = rows[chance.argmax()]
    np.testing.assert_array_equal(likeliest, space.strongest(jnp.asarray(weights)))


@pytest.mark.parametrize("space", [TINY, NB201], ids=["tiny", "nasbench201"])
def test_expected_cost_of_one_hot_weights_is_the_cell_s(space):
    """Whatever the scale of a row: sigmoids and edge weights do not sum to 1."""
    costs = made_costs(space)
    for i in range(3):
        weights = space.weights(spaces.encoding.sample(jax.random.key(i), space.sizes))
        for factor in (1.0, 0.3):
            got = costs.expected(factor * weights)
            np.testing.assert_allclose(got, costs.of(weights), rtol=1e-6)


@pytest.mark.parametrize("space", [TINY, NB201], ids=["tiny", "nasbench201"])
def test_gradient_of_the_expected_cost_by_central_differences(space):
    """In float64; the maximum over an edge's operations has a kink at ties alone."""
    with jax.enable_x64(True):
        costs = made_costs(space)
        logits = jax.random.normal(jax.random.key(3), space.shape, jnp.float64)

        @jax.jit
        def cost(logits):
            # as in float64: ``of`` rounds the edges to float32, which hold integers
            return costs.expected(jax.nn.softmax(logits, -1))

        got, step = np.asarray(jax.grad(cost)(logits)), 1e-5
        moves = step * jnp.eye(logits.size).reshape(-1, *logits.shape)
        ahead = jax.vmap(cost)(logits + moves)
        behind = jax.vmap(cost)(logits - moves)
        wanted = np.asarray((ahead - behind) / (2 * step)).reshape(got.shape)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
        assert np.abs(got).max() > 0.1


def test_the_expected_cost_of_a_zero_row_is_finite():
    """An edge whose candidates are all removed, and a whole cell of them."""
    costs = made_costs(TINY)
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(0), TINY.shape), -1)
    for given in (weights.at[0, 2].set(0), weights.at[0].set(0), 0 * weights):
        value, slopes = jax.value_and_grad(costs.expected)(given)
        assert np.isfinite(value) and np.isfinite(slopes).all()


def test_extent_is_that_of_all_cells():
    """The cheapest and the dearest, by enumeration."""
    costs = made_costs(TINY)
    every_cost = costs.base + (every(TINY)[1] * costs.options).sum((1, 2, 3))
    assert networks.extent(costs) == (every_cost.min(), every_cost.max())


@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
def test_the_best_cell_within_limits_by_enumeration(several):
    """The largest product of weights of all 59,049 cells that keep the limits."""
    rows, cells = every(TINY)
    first, second = made_costs(TINY, 1), made_costs(TINY, 2)
    skips = cells[:, 0, TINY.where("skip_connect")[0]].sum(-1)
    some = 0
    for seed, share in itertools.product((0, 1, 2), (0.02, 0.2, 0.6)):
        key = jax.random.key(seed)
        weights = np.asarray(jax.nn.softmax(2 * jax.random.normal(key, TINY.shape), -1))
        score = (cells * np.log(weights)).sum((1, 2, 3))
        kept, limits = np.ones(len(rows), bool), []
        for costs in (first, second) if several else (first,):
            cost = costs.base + (cells * costs.options).sum((1, 2, 3))
            bound = np.quantile(cost, share)
            kept &= cost <= bound
            limits.append(networks.limit("parameters", bound, costs))
        if several:
            kept &= skips <= 1
        got = networks.best_within(
            TINY, weights, limits, max_skips=1 if several else None
        )
        if not kept.any():
            assert got is None
            continue
        some += 1
        place = np.flatnonzero((rows == got).all(1))[0]
        assert kept[place] and networks.fits(TINY, got, limits)
        np.testing.assert_allclose(score[place], score[kept].max(), rtol=1e-9)
    assert some >= 6


def test_without_limits_the_best_cell_is_the_derived_one():
    """In a space whose nodes choose their inputs and in one whose nodes do not."""
    for space in (spaces.zoo.darts(), NB201):
        weights = jax.nn.softmax(jax.random.normal(jax.random.key(5), space.shape), -1)
        got = networks.best_within(space, np.asarray(weights), [])
        np.testing.assert_array_equal(got, space.strongest(weights))


def test_a_long_front_is_thinned_and_still_fits(monkeypatch):
    """With room for ten partial cells the result keeps the limits all the same."""
    monkeypatch.setattr(limits_lib, "MOST", 10)
    pair = [made_costs(TINY, 1), made_costs(TINY, 2)]
    limits = [networks.limit("parameters", networks.extent(c)[0] + 60, c) for c in pair]
    got = networks.best_within(TINY, np.ones(TINY.shape), limits)
    assert got is not None and networks.fits(TINY, got, limits)


def test_a_bound_below_the_cheapest_cell_is_refused_with_its_cost():
    """Alone, and where two bounds can be kept, but not together."""
    costs = made_costs(TINY)
    least, most = networks.extent(costs)
    with pytest.raises(ValueError, match=f"at least {least:.0f}, which the cheapest"):
        networks.limit("parameters", least - 1, costs)
    with pytest.raises(ValueError, match="got nan"):
        networks.limit("parameters", float("nan"), costs)
    against = networks.Costs(0.0, (costs.options.max() - costs.options), TINY)
    pair = (
        networks.limit("parameters", least, costs),
        networks.limit("macs", networks.extent(against)[0], against),
    )
    for one in pair:
        limits_lib.check_all(TINY, [one])
    with pytest.raises(ValueError, match="which no cell of the space keeps together"):
        limits_lib.check_all(TINY, pair)
    numbers = {"features": 4, "layers": 1}
    text = limit_flags.describe(networks.limit("macs", most, costs), numbers)
    assert f"{least:.0f} to {most:.0f}" in text and text.endswith("without effect")


# ------------------------------------------------------------------ by gradient


def blank_supernet(space):
    """A network that does not see the architecture: only the penalty moves it."""

    def apply(params, images, weights, *, key=None, variant_inputs=None):
        return jnp.zeros((len(images), 2)) + params["bias"]

    return networks.Supernet(lambda key: {"bias": jnp.zeros(2)}, apply, space)


def blank_search(space, limits, *, num_epochs=40, frozen=0, num_seeds=None):
    """A gradient search of the blank supernet with limits."""
    pieces = search_pieces.Pieces(
        optax.sgd(0.1),
        optax.adam(0.05),
        weights_of=mixing.build_weights_of(space, relaxations.softmax),
        limits=tuple(limits),
        frozen_epochs=frozen,
    )
    images = jnp.zeros((8, 4, 4, 1), jnp.uint8)
    split = images, jnp.arange(8, dtype=jnp.int32) % 2
    program = search.gradient_search(
        blank_supernet(space),
        pieces,
        augment=data.Augment(mean=(0.5,), std=(0.5,)),
        num_examples=(8, 8),
        batch_size=4,
        num_epochs=num_epochs,
        num_seeds=num_seeds,
    )
    return program, (split, split)


def steps(program, state, splits, first, stop):
    """Runs steps within epochs; returns (state, metrics of the last call)."""
    metrics = {}
    while first < stop:
        end = min(stop, first - first % program.steps_per_epoch
                  + program.steps_per_epoch)  # fmt: skip
        state, metrics = program.advance(
            state, jnp.int32(first), jnp.int32(end), splits
        )
        first = end
    return state, metrics


def start(program, space, costs):
    """A first state whose derived cell is the dearest."""
    state = program.init(jax.random.key(0))
    logits = 0.1 * jnp.asarray(costs.options / costs.options.max(), jnp.float32)
    return state._replace(inner=state.inner._replace(logits=logits))


@pytest.mark.parametrize("space", [TINY, NB201], ids=["tiny", "nasbench201"])
def test_dual_ascent_brings_the_derived_cell_below_the_bound(space):
    """From the dearest cell; resumed in the middle of an epoch it is the same."""
    costs = made_costs(space)
    least, most = networks.extent(costs)
    bound = networks.limit("parameters", least + 0.3 * (most - least), costs)
    program, splits = blank_search(space, [bound])
    assert program.metrics[-2:] == ("derived_parameters", "multiplier_parameters")
    before = start(program, space, costs)
    cell = space.strongest(before.inner.logits)
    assert float(costs.of(space.weights(cell))) == most
    stop = program.num_steps
    after, metrics = steps(program, before, splits, 0, stop)
    cell = space.strongest(jax.nn.softmax(after.inner.logits, -1))
    assert networks.fits(space, cell, [bound])
    assert metrics["derived_parameters"] <= bound.bound
    half, _ = steps(program, start(program, space, costs), splits, 0, 7)
    again, _ = steps(program, half, splits, 7, stop)
    for a, b in zip(*map(jax.tree.leaves, (after.inner, again.inner)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_limits_the_state_has_no_multipliers():
    """As in runs of earlier releases, which resume."""
    program, _ = blank_search(TINY, [])
    state = jax.eval_shape(program.init, jax.random.key(0))
    assert state.inner.multipliers is None and program.metrics == search.METRICS


def test_multipliers_wait_while_the_logits_are_frozen():
    """Ten of forty epochs; then they rise, and never below zero."""
    costs = made_costs(TINY)
    bound = networks.limit("parameters", networks.extent(costs)[0], costs)
    program, splits = blank_search(TINY, [bound], frozen=10)
    state, metrics = steps(program, start(program, TINY, costs), splits, 0, 20)
    assert metrics["multiplier_parameters"] == 0
    assert metrics["derived_parameters"] == networks.extent(costs)[1]
    _, metrics = steps(program, state, splits, 20, 24)
    assert metrics["multiplier_parameters"] > 0


def test_the_multiplier_s_step_by_hand():
    """m <- max(0, m + rate (cost - bound) / span), for two limits."""
    costs = made_costs(TINY)
    least, most = networks.extent(costs)
    weights = TINY.weights(TINY.strongest(jnp.asarray(costs.options)))  # the dearest
    span = most - least
    pair = (
        networks.limit("parameters", least, costs),
        networks.limit("macs", most + span, costs),
    )
    moved, values = gradient_limits.ascend(pair, jnp.array([0.5, 0.3]), weights, 0.25)
    np.testing.assert_allclose(moved, [0.75, 0.05], rtol=1e-5)
    moved, _ = gradient_limits.ascend(pair, jnp.array([0.5, 0.3]), weights, 0.5)
    np.testing.assert_allclose(moved, [1.0, 0.0], rtol=1e-5)
    assert list(values) == list(gradient_limits.metrics(pair))
    assert values["derived_macs"] == most


def test_the_penalty_follows_masks_and_edge_weights():
    """The weights that a cell is derived from, not those of the loss."""
    costs = made_costs(TINY)
    bound = networks.limit("parameters", networks.extent(costs)[0], costs)
    weights_of = mixing.build_weights_of(TINY, relaxations.softmax)
    penalty = gradient_limits.penalty([bound], weights_of)
    logits = jax.random.normal(jax.random.key(0), TINY.shape)
    mask = jnp.ones(TINY.shape, bool).at[0, 0, 1].set(False)
    edges = 3 * jax.random.normal(jax.random.key(1), TINY.shape[:2])
    for arch, keep in (
        (logits, None),
        (logits, mask),
        (types.ArchParams(logits, edges), None),
    ):
        weights = mixing.eval_weights(TINY, relaxations.softmax, arch, keep)
        wanted = 2 * (costs.expected(weights) - bound.bound) / bound.span
        got = penalty(arch, keep, jnp.array([2.0]))
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_a_derived_cell_that_exceeds_a_limit_is_replaced():
    """By the candidates that are left, by removed ones where nothing else fits."""
    costs = made_costs(TINY)
    least, most = networks.extent(costs)
    weights = np.asarray(
        jax.nn.softmax(jax.random.normal(jax.random.key(2), TINY.shape), -1)
    )
    cell = np.asarray(TINY.strongest(jnp.asarray(weights)))
    loose = [networks.limit("parameters", most, costs)]
    same, changed = gradient_limits.fitted(loose, TINY, cell, weights, weights)
    assert same is cell and not changed
    one_hot = np.asarray(TINY.weights(cell))  # as after DARTS-PT: one candidate an edge
    cost = costs.base + (one_hot * costs.options).sum()
    tight = [networks.limit("parameters", max(least, cost - 1), costs)]
    got, changed = gradient_limits.fitted(tight, TINY, cell, one_hot, weights)
    assert changed and networks.fits(TINY, got, tight)
    # by enumeration: as many kept candidates as can be, then the removed ones' weights
    rows, cells = every(TINY)
    score = (cells * np.log(one_hot + 1e-6 * weights)).sum((1, 2, 3))
    kept = costs.base + (cells * costs.options).sum((1, 2, 3)) <= tight[0].bound
    np.testing.assert_array_equal(got, rows[kept][score[kept].argmax()])


def _ones(leaf):
    """An array of ones in the place of an abstract leaf; a key for a key."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    return jnp.ones(leaf.shape, leaf.dtype)


@pytest.mark.slow
def test_multipliers_go_on_from_stage_to_stage():
    """Of P-DARTS and of DARTS-PT, without compiling a network."""
    costs = made_costs(TINY)
    bound = networks.limit("parameters", networks.extent(costs)[0] + 1, costs)
    setting = segments.Setting(
        networks.Size(4, 3, 2, 1), data.Augment(mean=(0.5,), std=(0.5,)), (8, 8),
        limits=(bound,),
    )  # fmt: skip
    for build in (methods.pdarts, methods.darts_pt):
        method = dataclasses.replace(
            build(), features=4, layers=3, epochs=3, batch_size=4, watch_interval=0
        )
        built = segments.build_segments(method, TINY, setting)
        states = [jax.eval_shape(one.program.init, jax.random.key(0)) for one in built]
        ones = [jax.tree.map(_ones, one) for one in states]
        assert all(one.pieces.limits == (bound,) for one in built)
        fresh = ones[1]._replace(inner=ones[1].inner._replace(multipliers=jnp.zeros(1)))
        carried = built[1].carry(ones[0], fresh)
        assert carried.inner.multipliers.tolist() == [1.0]


DIGITS = search_gradient.SearchSettings(
    dataclasses.replace(
        methods.darts(),
        features=4,
        layers=1,
        epochs=1,
        batch_size=64,
        watch_interval=0,
        logits_learning_rate=0.0,
    ),
    num_seeds=2,
)


@pytest.mark.slow
def test_a_gradient_search_under_a_limit(tmp_path):
    """The tightest bound of the network that is trained next: found, said, resumed."""
    dataset, space = data.load("digits"), NB201
    size = networks.Size(8, 1, dataset.num_classes, 1)
    known = networks.option_costs(space, size, dataset.image_shape)["parameters"]
    least, _ = networks.extent(known)
    settings = dataclasses.replace(
        DIGITS, max_parameters=least, cost_features=8, cost_layers=1
    )
    with run.open_run(tmp_path) as r:
        found = search_gradient.search_cells(r, dataset, space, settings)
        result = search_gradient.close(r, found, dataset, settings)
    for genotype in found.genotypes:
        network = networks.derived(genotype, size)
        assert networks.measure(network, dataset.image_shape)["parameters"] == least
    assert result["parameters"] == least == result["limits"]["parameters"]["found"]
    assert "--features=8 --layers=1" in result["next"]
    assert any("2 of 2 searches exceeded" in text for text in result["warnings"])
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["multiplier_parameters"] > 0 and line["derived_parameters"] > least
    below = dataclasses.replace(settings, max_parameters=least - 1)
    with run.open_run(tmp_path / "below") as r:
        with pytest.raises(ValueError, match="the cheapest cell of space nasbench201"):
            search_gradient.search_cells(r, dataset, space, below)
        assert (
            not (tmp_path / "below" / "metrics.jsonl").exists()
            or not (tmp_path / "below" / "metrics.jsonl").read_text()
        )


# ------------------------------------------------------------------ discrete


def recorder(sizes):
    """A controller that proposes nothing new and keeps the scores that are reported."""
    del sizes
    return types.Controller(
        lambda key: jnp.zeros(()),
        lambda key, state: jnp.zeros((1, 1), jnp.int32),
        lambda state, encodings, scores: scores,
    )


def first_gene_margin(encodings):
    """Room of 2 minus the first gene."""
    return (2.0 - encodings[:, :1]).astype(jnp.float32)


def test_infeasible_cells_rank_below_every_feasible_one_by_violation():
    """Also below one without a score; Deb 2000's order."""
    cells = jnp.array([[0], [3], [5], [1], [2]], jnp.int32)
    scores = jnp.array([[-1e9], [9.0], [9.0], [jnp.nan], [0.5]])
    told = discrete_limits.constrained(
        recorder(()), first_gene_margin, after=None
    ).tell(0, cells, scores)[:, 0]
    assert np.argsort(told, stable=True).tolist() == [2, 1, 3, 0, 4]
    assert np.isfinite(told).all() and told[0] == -1e9 and told[4] == 0.5
    unknown = discrete_limits.violation(jnp.array([[jnp.nan], [0.0], [-3.0]]))
    assert unknown.tolist() == [1, 0, 3]


def test_controllers_with_constraints_get_the_margins_after_their_objectives():
    """NSGA-II after two columns, further ones behind."""
    cells = jnp.array([[0], [5]], jnp.int32)
    scores = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    told = discrete_limits.constrained(recorder(()), first_gene_margin, after=2)
    assert told.tell(0, cells, scores).tolist() == [[1, 2, 2, 3], [4, 5, -3, 6]]


def test_reinforce_rewards_by_hand():
    """Scores of feasible cells; worst - range v / (1 + v) for the others."""
    build = controllers.reinforce((4,), num_proposals=4, num_constraints=1)
    plain = controllers.reinforce((4,), num_proposals=4)
    cells = jnp.arange(4, dtype=jnp.int32)[:, None]
    # .2 and .6 are feasible: range .4; violations 1 and 3 give .2 - .2 and .2 - .3
    margins = jnp.array([[0.0], [-1.0], [2.0], [-3.0]])
    scores = jnp.array([[0.2], [-jnp.inf], [0.6], [-jnp.inf]])
    rewards = jnp.array([[0.2], [0.0], [0.6], [-0.1]])
    state = build.init(jax.random.key(0))
    got = build.tell(state, cells, jnp.concatenate([scores, margins], 1))
    want = plain.tell(plain.init(jax.random.key(0)), cells, rewards)
    np.testing.assert_allclose(got.logits, want.logits, rtol=1e-5)
    np.testing.assert_allclose(got.baseline, want.baseline, rtol=1e-5)
    assert [round(float(v), 6) for v in got.seen] == [0.2, 0.6]
    # before any feasible cell: 0 - 1 v / (1 + v)
    scores = jnp.full((4, 1), -jnp.inf)
    margins = jnp.array([[-1.0], [-1.0], [-3.0], [-jnp.inf]])
    got = build.tell(state, cells, jnp.concatenate([scores, margins], 1))
    rewards = jnp.array([[-0.5], [-0.5], [-0.75], [-1.0]])
    want = plain.tell(plain.init(jax.random.key(0)), cells, rewards)
    np.testing.assert_allclose(got.logits, want.logits, rtol=1e-5)
    assert np.isfinite(got.logits).all()


def test_reinforce_learns_to_keep_a_limit():
    """Two genes of four; infeasible cells would score higher."""
    sizes = (4, 4)
    build = controllers.reinforce(sizes, learning_rate=0.1, num_constraints=1)
    bound = discrete_limits.constrained(build, first_gene_margin, after=1)

    def objective(key, encodings):
        feasible = encodings[:, :1] <= 2
        return jnp.where(feasible, encodings.sum(-1, keepdims=True) * 10.0, -jnp.inf)

    runs = comparison.play(bound, objective, num_runs=8, num_evaluations=300, seed=0)
    last = runs.encodings[:, -50:]
    assert (last[..., 0] <= 2).mean() > 0.9 > (runs.encodings[:, :20, 0] <= 2).mean()
    assert last.sum(-1).mean() > 4  # the best feasible cell has 2 + 3


def test_an_infeasible_cell_is_not_scored():
    """In a compiled objective and in one that cannot be compiled."""
    seen = []

    def plain(key, encodings):
        jax.debug.callback(lambda e: seen.extend(e[:, 0].tolist()), encodings)
        return encodings.astype(jnp.float32)

    def by_hand(key, encodings):
        seen.extend(np.asarray(encodings)[:, 0].tolist())
        return jnp.asarray(encodings, jnp.float32)

    by_hand.jittable = False
    cells = jnp.array([[5], [1], [3], [0]], jnp.int32)
    for objective, how in ((plain, jax.jit), (by_hand, lambda f: f)):
        seen.clear()
        limited = discrete_limits.limited(objective, first_gene_margin)
        assert objectives.jittable(limited) == objectives.jittable(objective)
        scores = how(limited)(jax.random.key(0), cells)
        jax.effects_barrier()
        assert scores[:, 0].tolist() == [-np.inf, 1, -np.inf, 0]
        assert sorted(seen) == [0, 1]
        seen.clear()
        scores = how(limited)(jax.random.key(0), cells[:1])
        jax.effects_barrier()
        assert scores.tolist() == [[-np.inf]] and not seen


CONTROLLERS = (
    "random_search", "regularized_evolution", "local_search", "reinforce", "nsga2"
)  # fmt: skip


def on_table(folder, controller, **settings):
    """Searches digits201; returns (result, lines of evaluations.jsonl)."""
    settings = search_discrete.DiscreteSettings(
        controller=controller,
        objective="table:digits201",
        **({"num_evaluations": 120} | settings),
    )
    table = search_discrete.check(settings)
    with run.open_run(folder) as r:
        found = search_discrete.search_cells(r, NB201, settings, table=table)
        search_discrete.close(r, found, settings)
    lines = (folder / "evaluations.jsonl").read_text().splitlines()
    return found.result, [json.loads(line) for line in lines]


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_the_result_of_every_controller_keeps_the_limit(tmp_path, controller):
    """Infeasible cells have no score, and the best is the best of the others."""
    bound, table = 30_000, tables.load("digits201")
    result, lines = on_table(tmp_path, controller, max_parameters=bound)
    sizes = np.array([one["scores"]["parameters"] for one in lines])
    scores = [one["scores"]["valid_12"] for one in lines]
    cells = np.array([one["encoding"] for one in lines])
    np.testing.assert_array_equal(table.column("parameters")[table.row(cells)], sizes)
    assert [score is None for score in scores] == (sizes > bound).tolist()
    assert 0 < (sizes > bound).sum() == result["num_unfit"] < len(lines)
    assert result["parameters"] <= bound
    assert result["valid_12"] == max(score for score in scores if score is not None)
    assert result["limits"] == {
        "parameters": {"bound": bound, "found": result["parameters"]}
    }
    shown = (tmp_path / "metrics.jsonl").read_text().splitlines()
    best = [json.loads(line)["best_score"] for line in shown]
    assert best[-1] == result["valid_12"]
    said = f"{result['num_unfit']} of {len(lines)} evaluations exceeded"
    assert any(text.startswith(said) for text in result["warnings"])


def test_nsga2_keeps_a_limit_on_one_of_its_objectives(tmp_path):
    """The front has feasible cells alone, and the population moves below the bound."""
    bound = 40_000
    result, lines = on_table(
        tmp_path, "nsga2", max_parameters=bound, num_evaluations=240,
        signal=("valid_12", "parameters"),
    )  # fmt: skip
    front = json.loads((tmp_path / "front.json").read_text())["front"]
    assert front and all(one["scores"]["parameters"] <= bound for one in front)
    sizes = np.array([one["scores"]["parameters"] for one in lines])
    assert (sizes[-80:] <= bound).mean() > (sizes[:40] <= bound).mean()
    assert result["parameters"] <= bound


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_parameters": 10_000}, "the cheapest cells have parameters 18,594"),
        ({"max_macs": 1e6}, "max_macs must be left out with table digits201"),
        ({"cost_layers": 2}, "cost_layers must be left out with a table"),
        (
            {"max_parameters": 18_594, "num_evaluations": 1},
            "one proposed cell at least must keep --max_parameters=18594, got none of",
        ),
    ],
    ids=["cheapest", "unknown", "size", "none"],
)
def test_limits_on_a_table_that_are_refused(tmp_path, settings, message):
    """Before anything runs, but for a search whose proposals all exceed a limit."""
    with pytest.raises(ValueError, match=message):
        on_table(tmp_path, "random_search", **settings)


def test_a_bound_above_the_dearest_cell_is_said_to_be_without_effect(tmp_path, capfd):
    """And changes no proposal."""
    _, with_bound = on_table(tmp_path / "a", "reinforce", max_parameters=1e6)
    said = capfd.readouterr().err
    assert "where cells of table digits201 have 18,594 to 91,842; no cell" in said
    _, without = on_table(tmp_path / "b", "reinforce")
    same = [one["encoding"] for one in without]
    assert [one["encoding"] for one in with_bound] == same


def on_images(folder, **settings):
    """Searches the digits by costs alone; returns (found, its closing result)."""
    settings = search_discrete.DiscreteSettings(
        **({"features": 4, "layers": 1, "num_evaluations": 80} | settings)
    )
    dataset = data.load("digits")
    search_discrete.check(settings)
    with run.open_run(folder) as r:
        found = search_discrete.search_cells(r, NB201, settings, dataset=dataset)
        return found, search_discrete.close(r, found, settings, dataset=dataset)


def test_costs_are_objectives_by_name_several_side_by_side(tmp_path):
    """With their directions; counted again in each cell's network."""
    found, result = on_images(
        tmp_path, objective="parameters,macs", controller="nsga2",
    )  # fmt: skip
    directions = {"parameters": "minimize", "macs": "minimize"}
    assert found.result["directions"] == directions
    lines = (tmp_path / "evaluations.jsonl").read_text().splitlines()
    sizes = [json.loads(one)["scores"]["parameters"] for one in lines]
    assert found.result["parameters"] == min(sizes) < max(sizes)
    network = networks.derived(found.genotype, networks.Size(4, 1, 10, 1))
    counts = networks.measure(network, (8, 8, 1))
    assert result["parameters"] == counts["parameters"]
    assert found.result["macs"] >= counts["macs"]


def test_costs_and_limits_are_those_of_the_network_that_is_trained(tmp_path):
    """A search of the largest cell below a bound of another size."""
    size = networks.Size(8, 2, 10, 1)
    costs = networks.option_costs(NB201, size, (8, 8, 1))["parameters"]
    least, most = networks.extent(costs)
    bound = (least + most) // 2
    found, result = on_images(
        tmp_path, objective="parameters", signal=("maximize:parameters",),
        max_parameters=bound, cost_features=8, cost_layers=2,
    )  # fmt: skip
    counts = networks.measure(networks.derived(found.genotype, size), (8, 8, 1))
    assert least < counts["parameters"] == result["parameters"] <= bound
    lines = (tmp_path / "evaluations.jsonl").read_text().splitlines()
    scores = [json.loads(one)["scores"]["parameters"] for one in lines]
    assert None in scores
    assert result["parameters"] == max(one for one in scores if one is not None)
    assert "--features=8 --layers=2" in result["next"]


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("supernet,scratch", "must hold supernet or scratch, got both"),
        ("macs,macs", "must name each part once, got 'macs' twice"),
        ("supernet,parametres", "got 'parametres'. Did you mean 'parameters'"),
    ],
)
def test_objectives_that_do_not_fit_together_are_refused(objective, message):
    """By name, with what to do."""
    with pytest.raises(ValueError, match=message):
        scoring.check(objective)


def test_the_network_that_is_counted_is_the_next_command_s():
    """The flags, else what the user set of the search, else retrain's recipe."""
    cost = functools.partial(
        limit_flags.cost_numbers, space=TINY, image_shape=(32, 32, 3)
    )
    one_input = registry.SPACES["nasbench201"]()
    settings = limit_flags.LimitSettings()
    assert cost(settings, {}) == {"features": 36, "layers": 20}
    assert cost(settings, {"features": 8}) == {"features": 8, "layers": 20}
    assert cost(settings, {}, space=one_input) == {"features": 16, "layers": 5}
    small = registry.SPACES["compact"]()
    assert cost(settings, {}, space=small) == {"features": 8, "layers": 1}
    large = cost(settings, {}, image_shape=(224, 224, 3))
    assert large == {"features": 48, "layers": 14}
    settings = limit_flags.LimitSettings(cost_features=5)
    assert cost(settings, {"features": 8}) == {"features": 5, "layers": 20}
    assert not limit_flags.counted(limit_flags.LimitSettings())
    assert limit_flags.counted(limit_flags.LimitSettings(max_macs=3))
