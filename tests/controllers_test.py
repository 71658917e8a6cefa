"""Controllers: their algorithms against plain loops, closed forms and brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jnas import registry, spaces
from jnas.bench import plain_loops
from jnas.discrete import controllers, search
from jnas.discrete.controllers import draws, fronts

SIZES = (3, 1, 4, 2)
WEIGHTS = np.random.default_rng(0).uniform(0, 100, SIZES).astype(np.float32)
SCORES = jnp.asarray(WEIGHTS)


def objective(key, encodings):
    """A table of random scores, in percent."""
    del key
    return SCORES[tuple(encodings.T)][:, None]


def best_scores(controller, *, num_runs, num_rounds, seed=0):
    """The best score of each of many runs."""
    keys = jax.random.split(jax.random.key(seed), num_runs)

    def one(key):
        history = search.discrete_search(
            key, controller, objective, num_rounds=num_rounds
        )[1]
        return history.scores.max(), history.encodings[:, 0]

    return jax.jit(jax.vmap(one))(keys)


@pytest.mark.parametrize("name", ["evolution", "reinforce"])
def test_equal_in_distribution_to_the_plain_loop(name):
    """Mean score at several times, and the best of a run, as Python's loop has them."""
    loop = getattr(plain_loops, name)
    make, settings = {
        "evolution": (
            controllers.regularized_evolution,
            dict(population_size=4, sample_size=2),
        ),
        "reinforce": (controllers.reinforce, {}),
    }[name]
    rate = dict(learning_rate=0.2) if name == "reinforce" else {}
    controller = make(SIZES, **settings, **rate)
    plain_rate = dict(rate=0.2) if name == "reinforce" else {}
    _, asked = best_scores(controller, num_runs=3000, num_rounds=20)
    ours = WEIGHTS[tuple(np.moveaxis(np.asarray(asked), -1, 0))]
    theirs = np.array(
        [
            [s for _, s in loop(
                lambda e: float(WEIGHTS[e]), SIZES, 20, i, **settings, **plain_rate
            )]
            for i in range(3000)
        ]
    )  # fmt: skip
    for step in (0, 6, 19):
        a, b = ours[:, step], theirs[:, step]
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        # six comparisons: 4 standard errors are passed by chance once in 2,600
        assert abs(a.mean() - b.mean()) < 4 * error, (name, step)
    assert stats.ks_2samp(ours.max(1), theirs.max(1)).pvalue > 1e-4
    if name == "reinforce":  # of unrelated scores a mutant inherits nothing
        assert ours[:, 19].mean() > ours[:, 0].mean() + 2


@pytest.mark.parametrize("name", list(registry.CONTROLLERS))
def test_jit_vmap_and_loop_agree_and_nothing_compiles_again(name):
    """A whole search by hand, jitted and under vmap asks for the same cells."""
    make = registry.CONTROLLERS[name]
    settings = {"population_size": 3} if name == "nsga2" else {}
    controller, traces = make(SIZES, **settings), []

    def two(key, encodings):
        return jnp.concatenate([objective(key, encodings)] * 2, 1)

    def run(key):
        traces.append(1)
        return search.discrete_search(key, controller, two, num_rounds=4)[1].encodings

    keys = jax.random.split(jax.random.key(1), 3)
    many = jax.jit(jax.vmap(run))
    asked = many(keys)
    np.testing.assert_array_equal(asked, many(keys))
    assert len(traces) == 1
    np.testing.assert_array_equal(asked[2], jax.jit(run)(keys[2]))
    if name != "nsga2":  # its peeling of fronts takes minutes by hand
        with jax.disable_jit():
            np.testing.assert_array_equal(asked[1], run(keys[1]))


@pytest.mark.parametrize("name", list(registry.CONTROLLERS))
def test_a_nan_never_wins_and_duplicates_may_be_told_once(name):
    """Fewer rows than were asked are told; a NaN is as bad as can be."""
    size = {"population_size": 6} if name == "nsga2" else {"num_proposals": 6}
    controller = registry.CONTROLLERS[name](SIZES, **size)
    state = controller.init(jax.random.key(0))
    for number in range(3):
        asked = np.asarray(controller.ask(jax.random.key(number), state))
        once = np.unique(asked, axis=0)
        scores = np.array(objective(None, jnp.asarray(once)))
        scores = np.where(once[:, :1] == 0, np.nan, scores).repeat(2, 1)
        state = controller.tell(state, jnp.asarray(once), jnp.asarray(scores))
    asked = np.asarray(controller.ask(jax.random.key(99), state))
    assert asked.shape == (6, 4) and (asked >= 0).all() and (asked < SIZES).all()
    for leaf in jax.tree.leaves(state):
        assert not np.isnan(np.asarray(leaf, np.float32)).any()
    if name == "regularized_evolution":
        winner = state.scores.argmax()
        assert state.encodings[winner, 0] != 0


def test_evolution_is_a_queue_of_mutants():
    """The oldest dies; a child is one gene away from the best of its tournament."""
    given = jnp.array([[0, 0, 0, 0], [1, 0, 1, 1]])
    controller = controllers.regularized_evolution(
        SIZES, population_size=3, sample_size=60, initial=given
    )
    state = controller.init(jax.random.key(0))
    told = []
    for number in range(9):
        asked = controller.ask(jax.random.key(number), state)
        if number < 2:
            np.testing.assert_array_equal(asked[0], given[number])
        if number >= 3:
            # 60 draws with replacement of 3 miss one with chance 3 (2/3)^60 < 1e-10
            parent = max(told[-3:], key=lambda pair: pair[1])[0]
            changed = np.flatnonzero(np.asarray(asked[0]) != parent)
            assert len(changed) == 1 and SIZES[changed[0]] > 1
        score = float(objective(None, asked)[0, 0])
        told.append((np.asarray(asked[0]), score))
        state = controller.tell(state, asked, jnp.array([[score]]))
        pairs = zip(state.encodings.tolist(), state.scores, strict=True)
        kept = {tuple(e) for e, score in pairs if score > -np.inf}
        assert kept == {tuple(e.tolist()) for e, _ in told[-3:]}


def test_mutations_are_uniform():
    """Gene, then another value: chi-square over all neighbours of one parent."""
    parent = jnp.array([[2, 0, 1, 1]])
    controller = controllers.regularized_evolution(
        SIZES, population_size=1, sample_size=1, initial=parent
    )
    state = controller.tell(
        controller.init(jax.random.key(0)), parent, jnp.array([[1.0]])
    )
    keys = jax.random.split(jax.random.key(1), 6000)
    asked = jax.jit(jax.vmap(lambda key: controller.ask(key, state)[0]))(keys)
    near = spaces.encoding.neighbours(parent[0], SIZES)
    counts = np.array([(asked == row).all(-1).sum() for row in near])
    assert counts.sum() == 6000
    chances = np.concatenate([np.full(n - 1, 1 / 3 / (n - 1)) for n in (3, 4, 2)])
    assert stats.chisquare(counts, 6000 * chances).pvalue > 1e-4


def test_local_search_climbs_to_a_peak_and_starts_again():
    """Each centre's neighbours are asked once each; the best one is the next centre."""
    start = jnp.array([[0, 0, 0, 0]])
    controller = controllers.local_search(SIZES, initial=start)
    state, key = controller.init(jax.random.key(0)), jax.random.key(1)

    def ask_and_tell(state):
        asked = controller.ask(key, state)
        return asked[0], controller.tell(state, asked, objective(None, asked))

    asked, state = ask_and_tell(state)
    np.testing.assert_array_equal(asked, start[0])
    centre = start[0]
    while True:
        near = [np.asarray(row) for row in spaces.encoding.neighbours(centre, SIZES)]
        seen = []
        for _ in near:
            asked, state = ask_and_tell(state)
            seen.append(np.asarray(asked))
        assert {tuple(r) for r in seen} == {tuple(r) for r in near}
        best = max(near, key=lambda row: WEIGHTS[tuple(row)])
        if WEIGHTS[tuple(best)] <= WEIGHTS[tuple(np.asarray(centre))]:
            break
        centre = jnp.asarray(best)
        np.testing.assert_array_equal(state.centre, centre)
    assert int(state.place) == -1  # the next proposal is a new start
    asked, state = ask_and_tell(state)
    np.testing.assert_array_equal(state.centre, asked)


def by_autodiff(logits, encodings, values, baseline, entropy_weight):
    """REINFORCE's loss as its docstring writes it, differentiated by JAX."""
    rows = [logits[g, :n] for g, n in enumerate(SIZES)]

    def loss(rows):
        log_p = [jax.nn.log_softmax(row) for row in rows]
        chosen = sum(lp[encodings[:, g]] for g, lp in enumerate(log_p))
        entropy = -sum((jnp.exp(lp) * lp).sum() for lp in log_p)
        return -((values - baseline) * chosen).mean() - entropy_weight * entropy

    return jax.grad(loss)(rows)


@pytest.mark.parametrize("entropy_weight", [0.0, 3.0])
def test_reinforce_is_adam_on_its_loss(entropy_weight):
    """Three rounds against autodiff, optax and the baseline's closed form."""
    controller = controllers.reinforce(
        SIZES, learning_rate=0.05, num_proposals=3, entropy_weight=entropy_weight
    )
    state = controller.init(jax.random.key(0))
    logits = jnp.where(jnp.isfinite(state.logits), state.logits, 0)
    rows = [logits[g, :n] for g, n in enumerate(SIZES)]
    adam = optax.adam(0.05)
    adam_state, means = adam.init(rows), []
    for number in range(3):
        encodings = controller.ask(jax.random.key(number), state)
        values = objective(None, encodings)[:, 0]
        means.append(float(values.mean()))
        weights = [0.1 * 0.9**k for k in range(number + 1)]
        pairs = zip(weights, reversed(means), strict=True)
        baseline = sum(w * m for w, m in pairs) / sum(weights)
        padded = jnp.stack([jnp.pad(r, (0, 4 - len(r))) for r in rows])
        grads = by_autodiff(padded, encodings, values, baseline, entropy_weight)
        updates, adam_state = adam.update(grads, adam_state)
        rows = optax.apply_updates(rows, updates)
        state = controller.tell(state, encodings, values[:, None])
        for g, row in enumerate(rows):
            wanted = jax.nn.softmax(row)
            found = state.chances[g, : SIZES[g]]
            # the first round's Adam step is the sign of a sum that may cancel
            np.testing.assert_allclose(found, wanted, atol=2e-4)
            assert (state.chances[g, SIZES[g] :] == 0).all()


def test_reinforce_draws_what_its_policy_says():
    """Chi-square of each gene from given logits."""
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1, 1.0], [1, 1, 1, 1],
                                [0.1, 0.2, 0.3, 0.4], [0.9, 0.1, 1, 1]]))  # fmt: skip
    controller = controllers.reinforce(SIZES, num_proposals=8000, initial_logits=logits)
    state = controller.init(jax.random.key(0))
    asked = np.asarray(controller.ask(jax.random.key(1), state))
    for gene, size in enumerate(SIZES):
        counts = np.bincount(asked[:, gene], minlength=size)
        chances = np.exp(np.asarray(logits[gene, :size], np.float64))
        if size > 1:
            expected = 8000 * chances / chances.sum()
            assert stats.chisquare(counts, expected).pvalue > 1e-4
        assert len(counts) == size
    with pytest.raises(ValueError, match="initial_logits must have the shape"):
        controllers.reinforce(SIZES, initial_logits=logits[:2])


def slow_ranks(scores, margins):
    """Fronts by comparing every pair, in plain Python."""

    def beats(a, b):
        bad_a, bad_b = (sum(max(0.0, -m) for m in margins[i]) for i in (a, b))
        if bad_a or bad_b:
            return bad_a < bad_b
        pairs = list(zip(scores[a], scores[b], strict=True))
        return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)

    left, ranks, rank = set(range(len(scores))), {}, 0
    while left:
        front = {i for i in left if not any(beats(j, i) for j in left)}
        ranks |= dict.fromkeys(front, rank)
        left, rank = left - front, rank + 1
    return [ranks[i] for i in range(len(scores))]


@pytest.mark.parametrize("num_constraints", [0, 2])
def test_fronts_are_brute_forces(num_constraints):
    """Ranks of random points with ties, with and without constraints."""
    rng = np.random.default_rng(num_constraints)
    for _ in range(5):
        scores = rng.integers(0, 5, (20, 2)).astype(np.float32)
        margins = rng.integers(-2, 6, (20, num_constraints)).astype(np.float32)
        found = fronts.ranks(jnp.asarray(scores), jnp.asarray(margins))
        assert list(found) == slow_ranks(scores.tolist(), margins.tolist())


def test_crowding_by_hand():
    """Ends are infinite; between them the neighbours' gaps over the front's extent."""
    scores = jnp.array([[0.0, 10.0], [1.0, 6.0], [4.0, 0.0], [9.0, 9.0]])
    found = fronts.crowding(scores, jnp.array([0, 0, 0, 1]))
    # the middle one: (4 - 0) / 4 + (10 - 0) / 10
    np.testing.assert_allclose(found, [np.inf, 2.0, np.inf, np.inf])


def test_hypervolume_is_the_area_of_a_union():
    """Against counting unit squares."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        points = rng.integers(0, 12, (8, 2)).astype(float)
        squares = {
            (x, y)
            for a, b in points
            for x, y in itertools.product(range(2, int(a)), range(1, int(b)))
        }
        assert fronts.hypervolume(points, np.array([2, 1])) == len(squares)


def test_nsga2_finds_the_front_and_keeps_to_constraints():
    """Two objectives that pull apart; a margin that forbids a third of the cells."""
    sizes = (6, 6, 6)

    def scores(encodings):
        x, y, z = encodings.T.astype(jnp.float32)
        return jnp.stack([x + y / 10, -(x + z), y - 2], 1)

    def run(key, num_constraints):
        controller = controllers.nsga2(
            sizes, population_size=24, num_constraints=num_constraints
        )
        return search.discrete_search(
            key, controller, lambda k, e: scores(e), num_rounds=30
        )[0]

    state = run(jax.random.key(0), 0)
    front = {tuple(e) for e in state.encodings[state.ranks == 0].tolist()}
    assert front == {(x, 5, 0) for x in range(6)}
    state = run(jax.random.key(1), 1)
    assert (state.encodings[:, 1] >= 2).all()
    assert {tuple(e) for e in state.encodings[state.ranks == 0].tolist()} == front
    with pytest.raises(ValueError, match="scores must have 2 objectives"):
        controller = controllers.nsga2(sizes, population_size=4)
        state = controller.init(jax.random.key(0))
        controller.tell(state, jnp.zeros((4, 3), jnp.int32), jnp.zeros((4, 1)))


def test_integers_are_uniform_and_independent():
    """Chi-square over all combinations of draws, one limit depending on another."""
    limits = [3, 2, lambda drawn: drawn[0] + 1]
    drawn = draws.integers(jax.random.key(0), 30_000, limits, [3, 2, 3])
    rows = np.stack(drawn, 1)
    cells = [(a, b, c) for a in range(3) for b in range(2) for c in range(a + 1)]
    counts = [(rows == cell).all(1).sum() for cell in cells]
    assert sum(counts) == 30_000
    chances = np.array([1 / 6 / (a + 1) for a, _, _ in cells])
    assert stats.chisquare(counts, 30_000 * chances).pvalue > 1e-4
    wide = draws.integers(jax.random.key(1), 20_000, [2**16, 7], [2**16, 7])
    assert stats.kstest(np.asarray(wide[0]) / 2**16, "uniform").pvalue > 1e-4
    assert stats.chisquare(np.bincount(wide[1], minlength=7)).pvalue > 1e-4


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("regularized_evolution", {"num_proposals": 11}, "from 1 to 10, got 11"),
        ("regularized_evolution", {"sample_size": 0}, "sample_size must be"),
        ("regularized_evolution", {"initial": np.zeros((1, 3), int)}, "of 4 genes"),
        ("regularized_evolution", {"initial": np.full((1, 4), 9)}, "inside sizes"),
        ("random_search", {"num_proposals": 0}, "num_proposals must be"),
        ("local_search", {"num_proposals": 0}, "num_proposals must be"),
        ("reinforce", {"num_proposals": 0.5}, "num_proposals must be an integer"),
        ("nsga2", {"population_size": 1}, "population_size must be"),
        ("nsga2", {"mutation_rate": 1.5}, "mutation_rate must be from 0 to 1"),
    ],
)
def test_wrong_settings_are_refused(name, settings, words):
    """At the factory, in one line."""
    with pytest.raises(ValueError, match=words):
        registry.CONTROLLERS[name](SIZES, **settings)


def test_a_space_without_choice_is_refused():
    """There is nothing to change."""
    for name in ("regularized_evolution", "local_search", "nsga2"):
        with pytest.raises(ValueError, match="a gene of two values or more"):
            registry.CONTROLLERS[name]((1, 1))
