"""Controllers: what they draw, keep and forget, against closed forms and loops."""

import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jnas import registry, spaces
from jnas.discrete import controllers
from jnas.discrete.controllers import draws, fronts

SIZES = (3, 1, 4, 2)
CELLS = np.array(list(itertools.product(*map(range, SIZES))), np.int32)
STARTERS = [
    name
    for name, make in registry.CONTROLLERS.items()
    if "initial" in inspect.signature(make).parameters
]


def column(values):
    """Scores f32[P, 1]."""
    return jnp.asarray(values, jnp.float32)[:, None]


def of(name, num_proposals, **settings):
    """The controller that proposes so many a round."""
    size = "population_size" if name == "nsga2" else "num_proposals"
    return registry.CONTROLLERS[name](SIZES, **{size: num_proposals}, **settings)


@pytest.mark.parametrize("name", list(registry.CONTROLLERS))
def test_first_round_is_uniform(name):
    """Chi-square over all 24 cells."""
    controller, keys = of(name, 4), jax.random.split(jax.random.key(0), 900)
    ask = jax.jit(jax.vmap(lambda key: controller.ask(key, controller.init(key))))
    rows = np.asarray(ask(keys)).reshape(-1, 4)
    counts = np.bincount(np.ravel_multi_index(rows.T, SIZES), minlength=24)
    assert rows.dtype == np.int32 and len(counts) == 24
    # the policy's own start, 1e-3 N(0, 1), is far below 3,600 draws' resolution
    assert stats.chisquare(counts).pvalue > 1e-4
    # proposals of one round are drawn apart: two agree once in 24
    pairs = (rows[0::4] == rows[1::4]).all(1).sum()
    assert abs(pairs - 900 / 24) < 5 * np.sqrt(900 / 24)


@pytest.mark.parametrize("name", STARTERS)
def test_initial_encodings_are_asked_first_in_order(name):
    """Over two rounds where one does not hold them; then the draws begin."""
    given = CELLS[[5, 0, 7, 23, 11]]
    if name == "nsga2":  # its first round is one population
        controller = of(name, 8, initial=given)
        rounds = 1
    elif name == "regularized_evolution":
        controller, rounds = of(name, 4, initial=given, population_size=9), 2
    else:
        controller, rounds = of(name, 4, initial=given), 2
    rows, ask = [], jax.jit(controller.ask)
    for seed in (1, 2):
        state, asked = controller.init(jax.random.key(0)), []
        for number in range(rounds):
            asked.append(ask(jax.random.key(10 * seed + number), state))
            if name == "local_search":  # the list of starts goes on after each climb
                state = state._replace(starts=state.starts + 4)
            elif number + 1 < rounds:
                state = controller.tell(state, asked[-1], jnp.zeros((4, 1)))
        rows.append(np.concatenate(asked))
    np.testing.assert_array_equal(rows[0][:5], given)
    np.testing.assert_array_equal(rows[1][:5], given)
    assert not np.array_equal(rows[0][5:], rows[1][5:])
    # nothing is asked for twice: by chance once in 24^2
    assert not all((r[5] == given[-1]).all() for r in rows)


def test_evolution_buries_the_oldest_first_whatever_the_round():
    """A ring of 5 told 3, 2, 3, 1 and 4 rows holds the last five, by their numbers."""
    controller = controllers.regularized_evolution(
        (64, 2), population_size=5, num_proposals=4
    )
    state, told = controller.init(jax.random.key(0)), []
    for count in (3, 2, 3, 1, 4):
        numbers = np.arange(len(told), len(told) + count)
        rows = np.stack([numbers, numbers % 2], 1).astype(np.int32)
        state = controller.tell(state, jnp.asarray(rows), column(numbers))
        told += rows.tolist()
        alive = [
            e
            for e, s in zip(state.encodings.tolist(), state.scores, strict=True)
            if s >= 0
        ]
        assert sorted(alive) == told[-5:] and int(state.count) == len(told)
        for encoding, score in zip(state.encodings, state.scores, strict=True):
            assert score == -np.inf or score == encoding[0]


def parents_of(children, members):
    """The place of each child's one parent, i[P]; fails where there is not one."""
    apart = (children[:, None] != members).sum(-1)
    assert ((apart == 1).sum(1) == 1).all() and (apart >= 1).all()
    return (apart == 1).argmax(1)


@pytest.mark.parametrize("alive", [4, 6])
def test_tournament_has_its_closed_form(alive):
    """Place r of N wins a sample of 3 with ((N - r)^3 - (N - r - 1)^3) / N^3."""
    members = np.array([[i] * 4 for i in range(6)], np.int32)
    sizes, order = (6,) * 4, [3, 0, 5, 1, 4, 2]
    controller = controllers.regularized_evolution(
        sizes, population_size=6, sample_size=3, num_proposals=6
    )
    # told more than N, so that all proposals are children; the last ``alive`` are good
    state = controller.tell(
        controller.init(jax.random.key(0)), jnp.asarray(members), column(order)
    )
    worst = [rank >= alive for rank in np.argsort(np.argsort([-o for o in order]))]
    scores = np.where(worst, np.nan, order)
    state = controller.tell(state, jnp.asarray(members), column(scores))
    keys = jax.random.split(jax.random.key(1), 1000)
    children = jax.jit(jax.vmap(lambda key: controller.ask(key, state)))(keys)
    wins = np.bincount(parents_of(np.asarray(children).reshape(-1, 4), members))
    best_first = np.argsort([-o for o in order])[:alive]
    place = np.arange(alive)
    chances = ((6 - place) ** 3 - (5 - place) ** 3) / 216
    # a sample of NaNs only is won by any of them
    rest = 1 - chances.sum()
    counts = [*wins[best_first], wins.sum() - wins[best_first].sum()]
    used = slice(None, None if rest > 1e-9 else -1)
    wanted = 6000 * np.array([*chances, rest])
    assert stats.chisquare(counts[used], wanted[used]).pvalue > 1e-4
    assert rest > 1e-9 or counts[-1] == 0


def test_evolution_draws_parents_only_from_those_told():
    """Where a round ends beyond the population's begin, nobody has an empty place."""
    controller = controllers.regularized_evolution(
        (9,) * 4, population_size=4, sample_size=1, num_proposals=4
    )
    members = np.array([[5, 6, 7, 8]] * 3, np.int32)
    state = controller.tell(
        controller.init(jax.random.key(0)), jnp.asarray(members), column([1, 2, 3])
    )
    ask = jax.jit(jax.vmap(lambda key: controller.ask(key, state)))
    asked = np.asarray(ask(jax.random.split(jax.random.key(1), 300)))
    # the first of a round is the fourth start, the others are children of the three
    assert (parents_of(asked[:, 1:].reshape(-1, 4), members[:1]) == 0).all()
    assert ((asked[:, 0] != members[0]).sum(-1) > 1).mean() > 0.9


def climb(controller, value, num_rounds, seed=0):
    """Yields (centre or None, rows asked) of each round, told without duplicates."""
    ask, tell = jax.jit(controller.ask), controller.tell
    state = controller.init(jax.random.key(seed))
    for key in jax.random.split(jax.random.key(seed), num_rounds):
        rows = np.asarray(ask(key, state))
        centre = None if state.place < 0 else np.asarray(state.centre)
        yield centre, rows
        once = np.unique(rows, axis=0)
        state = tell(state, jnp.asarray(once), column([value(r) for r in once]))


@pytest.mark.parametrize("num_proposals", [1, 4, 9])
def test_local_search_reaches_a_separable_optimum_and_starts_again(num_proposals):
    """From any start; six neighbours in rounds of 1, 4 or 9, told once each."""
    best = np.array([1, 0, 2, 1])
    gains = [np.random.default_rng(g).permutation(n) for g, n in enumerate(SIZES)]

    def value(row):
        return sum(
            9.0 if gene == peak else gain[gene] / 10
            for gene, peak, gain in zip(row, best, gains, strict=True)
        )

    controller = controllers.local_search(SIZES, num_proposals=num_proposals)
    a_climb = -(-6 // num_proposals)
    peaks, centre, asked, starts = 0, None, [], []
    for now, rows in climb(controller, value, 10 * a_climb):
        if now is None:
            if centre is not None:
                # three genes can be wrong, each step puts one right, one round looks
                assert (centre == best).all()
                peaks += 1
            starts.append(rows[0])
            centre, asked = None, []
            continue
        centre, asked = now, asked + rows.tolist()
        if len(asked) >= 6:
            near = spaces.encoding.neighbours(jnp.asarray(centre), SIZES).tolist()
            first = asked[:6]
            assert sorted(first) == sorted(near)
            # a round that reaches the last neighbour continues with the first
            assert asked[6:] == (first * 2)[: len(asked) - 6]
            asked = []
    assert peaks >= 2
    assert len(np.unique(starts, axis=0)) > 1


def test_local_search_steps_over_nan_and_leaves_a_plain():
    """NaN is never climbed to; where no neighbour is better there is a new start."""

    def value(row):
        return np.nan if row[0] else 0.0

    controller = controllers.local_search(SIZES, num_proposals=6)
    history = list(climb(controller, value, 40))
    for (centre, _), (after, _) in itertools.pairwise(history):
        if centre is None:
            assert after is not None  # a start is always looked around
        elif centre[0] == 0:
            assert after is None  # equals are not climbed to
        elif after is not None:
            assert after[0] == 0 and (after != centre).sum() == 1
    assert sum(centre is None for centre, _ in history) >= 12


def logits_of(seed):
    """Generic logits f64[4, 4], -inf where a gene is short."""
    exists = np.arange(4) < np.array(SIZES)[:, None]
    return np.where(exists, np.random.default_rng(seed).normal(size=(4, 4)), -np.inf)


@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
def test_reinforce_follows_its_loss_in_float64(entropy_weight):
    """Five rounds of four against autodiff and optax in double precision.

    The first round draws every value: its advantages sum to zero, so that another's
    gradient is a rounding error, of which Adam would take the sign. Scores are about
    1, so that float32 errs by 1e-7 in gradients of 1e-2; Adam divides by their size,
    and five steps of 0.1 stay within 1e-5.
    """
    controller = controllers.reinforce(
        SIZES,
        learning_rate=0.1,
        baseline_decay=0.7,
        entropy_weight=entropy_weight,
        num_proposals=4,
        initial_logits=logits_of(0),
    )
    rng = np.random.default_rng(1)
    batches = [(CELLS[rng.integers(0, 24, 4)], rng.normal(size=4)) for _ in range(5)]
    whole = np.array([[0, 0, 0, 0], [1, 0, 1, 1], [2, 0, 2, 0], [0, 0, 3, 1]], np.int32)
    batches[0] = whole, batches[0][1]
    state = controller.init(jax.random.key(0))
    tell = jax.jit(controller.tell)
    found = []
    for rows, values in batches:
        state = tell(state, jnp.asarray(rows), column(values))
        found.append(np.asarray(state.chances))
    with jax.enable_x64(True):
        genes = [jnp.asarray(logits_of(0)[g, :n]) for g, n in enumerate(SIZES)]
        adam = optax.adam(0.1)
        adam_state, means = adam.init(genes), []

        def loss(genes, rows, advantage):
            log_p = [jax.nn.log_softmax(gene) for gene in genes]
            chosen = sum(lp[rows[:, g]] for g, lp in enumerate(log_p))
            entropy = -sum((jnp.exp(lp) * lp).sum() for lp in log_p)
            return -(advantage * chosen).mean() - entropy_weight * entropy

        gradient = jax.jit(jax.grad(loss))
        for (rows, values), chances in zip(batches, found, strict=True):
            values = values.astype(np.float32).astype(np.float64)
            means.append(values.mean())
            shares = 0.7 ** np.arange(len(means))[::-1]
            advantage = values - shares @ means / shares.sum()
            grads = gradient(genes, rows, advantage)
            updates, adam_state = adam.update(grads, adam_state)
            genes = optax.apply_updates(genes, updates)
            for g, gene in enumerate(genes):
                wanted = np.zeros(4)
                wanted[: SIZES[g]] = jax.nn.softmax(gene)
                np.testing.assert_allclose(chances[g], wanted, atol=1e-5)
    np.testing.assert_allclose(np.exp(state.logits), state.chances, atol=1e-6)


def test_reinforce_baseline_has_its_closed_form():
    """Scores 1, 4, 10, decay 1/2: 1, (4 + 1/2) / (3/2), (10 + 4/2 + 1/4) / (7/4)."""
    controller = controllers.reinforce(SIZES, baseline_decay=0.5)
    state = controller.init(jax.random.key(0))
    for score, wanted in ((1, 1), (4, 3), (10, 7)):
        state = controller.tell(state, jnp.asarray(CELLS[:1]), column([score]))
        numerator, denominator = state.baseline
        np.testing.assert_allclose(numerator / denominator, wanted, rtol=1e-6)


def test_reinforce_leaves_out_what_is_not_finite():
    """Rows of NaN and infinities change nothing; nor does a round of them only."""
    controller = controllers.reinforce(SIZES, num_proposals=5)
    rows = jnp.asarray(CELLS[[3, 8, 2, 19, 14]])
    start = controller.tell(controller.init(jax.random.key(0)), rows[:1], column([2]))
    whole = controller.tell(start, rows[1::2], column([1.0, 5.0]))
    holes = controller.tell(start, rows, column([np.nan, 1, -np.inf, 5, np.inf]))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(holes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    none = controller.tell(start, rows, column([np.nan] * 5))
    np.testing.assert_array_equal(none.baseline, start.baseline)
    assert np.isfinite(none.chances).all()


def test_entropy_bonus_makes_the_policy_undecided():
    """With equal scores the bonus alone moves it, to the uniform one."""
    controller = controllers.reinforce(
        SIZES, entropy_weight=1.0, learning_rate=0.05, initial_logits=logits_of(3)
    )
    state = controller.init(jax.random.key(0))
    rows, zeros = jnp.asarray(CELLS[:1]), column([0.0])
    tell = jax.jit(lambda state, _: (controller.tell(state, rows, zeros), None))
    state = jax.lax.scan(tell, state, length=400)[0]
    for g, size in enumerate(SIZES):
        np.testing.assert_allclose(state.chances[g, :size], 1 / size, atol=1e-3)


def test_reinforce_never_draws_a_value_without_chance():
    """-inf at the first, a middle and the last value of genes; short genes as well."""
    logits = logits_of(1)
    logits[0, 0] = logits[2, 1] = logits[2, 3] = logits[3, 1] = -np.inf
    controller = controllers.reinforce(SIZES, num_proposals=9000, initial_logits=logits)
    state = controller.init(jax.random.key(0))
    asked = np.asarray(controller.ask(jax.random.key(1), state))
    assert set(asked[:, 0]) == {1, 2} and set(asked[:, 1]) == {0}
    assert set(asked[:, 2]) == {0, 2} and set(asked[:, 3]) == {0}
    chances = np.exp(logits[2, [0, 2]])
    counts = [(asked[:, 2] == value).sum() for value in (0, 2)]
    assert stats.chisquare(counts, 9000 * chances / chances.sum()).pvalue > 1e-4
    # and learns without a NaN
    state = controller.tell(state, asked[:9], column(np.arange(9)))
    assert np.isfinite(state.chances).all() and state.chances[2, 1] == 0


def test_reinforce_draws_the_ends_of_the_unit_interval_rightly(monkeypatch):
    """0 is the first value that has a chance; the float below 1 stays inside."""
    logits = logits_of(1)
    logits[0, 0] = -np.inf
    controller = controllers.reinforce(SIZES, num_proposals=2, initial_logits=logits)
    state = controller.init(jax.random.key(0))
    ends = jnp.array([[0.0] * 4, [1 - 2**-24] * 4])
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: ends)
    asked = controller.ask(jax.random.key(1), state)
    assert asked.tolist() == [[1, 0, 0, 0], [2, 0, 3, 1]]
    # also where rounding has left the sum of the chances below it
    short = state._replace(chances=state.chances * 0.999)
    assert controller.ask(jax.random.key(1), short).tolist() == asked.tolist()


def better(a, b, bad_a, bad_b):
    """Constrained domination of Deb et al., of two rows as lists."""
    if bad_a > 0 or bad_b > 0:
        return bad_a < bad_b
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@pytest.mark.parametrize(("objectives", "constraints"), [(1, 0), (2, 1), (3, 2)])
def test_dominates_pair_by_pair(objectives, constraints):
    """Integers, so that there are ties of scores and of violations."""
    rng = np.random.default_rng(objectives)
    scores = rng.integers(0, 3, (24, objectives)).astype(np.float32)
    margins = rng.integers(-2, 3, (24, constraints)).astype(np.float32)
    bad = [sum(max(0, -m) for m in row) for row in margins.tolist()]
    rows = scores.tolist()
    wanted = [
        [better(rows[i], rows[j], bad[i], bad[j]) for j in range(24)] for i in range(24)
    ]
    found = fronts.dominates(jnp.asarray(scores), jnp.asarray(margins))
    np.testing.assert_array_equal(found, wanted)
    assert found.any() and not found.diagonal().any()


def test_ranks_leave_out_what_takes_no_part():
    """A chain of four of which one is out: it neither ranks nor dominates."""
    scores = jnp.array([[1.0], [4.0], [3.0], [2.0]])
    none = jnp.zeros((4, 0))
    assert fronts.ranks(scores, none).tolist() == [3, 0, 1, 2]
    out = jnp.array([False, True, False, False])
    assert fronts.ranks(scores, none, out=out).tolist() == [2, 4, 0, 1]


def slow_crowding(scores, ranks):
    """Front by front and objective by objective, in plain Python."""
    found = np.zeros(len(scores))
    for rank in set(ranks):
        members = [i for i, r in enumerate(ranks) if r == rank]
        for values in zip(*scores, strict=True):
            row = sorted(members, key=lambda i: values[i])
            extent = values[row[-1]] - values[row[0]]
            found[row[0]] = found[row[-1]] = np.inf
            for before, i, after in zip(row, row[1:], row[2:], strict=False):
                found[i] += (values[after] - values[before]) / extent
    return found


def test_crowding_is_the_plain_loops():
    """Random points without ties, in three fronts and three objectives."""
    rng = np.random.default_rng(0)
    scores, ranks = rng.normal(size=(18, 3)), rng.integers(0, 3, 18)
    crowding = jax.jit(fronts.crowding)
    found = crowding(jnp.asarray(scores, jnp.float32), jnp.asarray(ranks))
    wanted = slow_crowding(scores.tolist(), ranks.tolist())
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    # a front without extent: ends are infinite, the middle adds nothing
    flat = crowding(jnp.ones((3, 2)), jnp.zeros(3, jnp.int32))
    assert sorted(flat.tolist()) == [0, np.inf, np.inf]


def test_hypervolume_in_closed_form():
    """Stairs (i, n - i) cover n (n - 1) / 2; what is dominated or outside adds 0."""
    stairs = np.array([(i, 7 - i) for i in range(1, 7)], float)
    assert fronts.hypervolume(stairs, np.zeros(2)) == 21
    more = np.array([[2, 2], [9, 0], [0, 9], [-1, 9], [3, 4]])
    order = np.random.default_rng(0).permutation(11)
    again = np.concatenate([stairs, more])[order]
    assert fronts.hypervolume(again, np.zeros(2)) == 21
    # moved and scaled with its point: the area scales by both units
    scale, shift = np.array([0.5, 3.0]), np.array([10.0, -4.0])
    assert fronts.hypervolume(again * scale + shift, shift) == 21 * 1.5
    assert fronts.hypervolume(np.zeros((0, 2)), np.zeros(2)) == 0


@functools.cache
def compiled_nsga2():
    """(init, tell) of six parents, two objectives and one margin; tell compiled."""
    controller = controllers.nsga2(SIZES, population_size=6, num_constraints=1)
    return controller.init, jax.jit(controller.tell)


@pytest.mark.parametrize("seed", range(6))
def test_nsga2_keeps_the_first_by_rank_and_then_by_crowding(seed):
    """Two tells against plain Python; each told cell competes, once."""
    rng = np.random.default_rng(seed)
    values = {tuple(cell): rng.normal(size=2) for cell in CELLS.tolist()}
    margin = {tuple(cell): rng.normal() + 0.5 for cell in CELLS.tolist()}
    init, tell = compiled_nsga2()
    state, parents = init(jax.random.key(0)), []
    for _ in range(3):
        # the first cell, all zeros, is among them: nothing sets it apart
        rows = np.concatenate([CELLS[:1], CELLS[rng.permutation(24)[:5]]])
        told = [(*values[tuple(r)], margin[tuple(r)]) for r in rows.tolist()]
        state = tell(state, jnp.asarray(rows), jnp.asarray(told, jnp.float32))
        pool = list(dict.fromkeys([*parents, *map(tuple, rows.tolist())]))
        left, sorted_fronts = pool, []
        while left:
            beaten = [
                any(
                    better(
                        values[j].tolist(),
                        values[i].tolist(),
                        max(0, -margin[j]),
                        max(0, -margin[i]),
                    )
                    for j in left
                )
                for i in left
            ]
            sorted_fronts.append(
                [i for i, b in zip(left, beaten, strict=True) if not b]
            )
            left = [i for i, b in zip(left, beaten, strict=True) if b]
        parents = []
        for front in sorted_fronts:
            gaps = slow_crowding([values[i].tolist() for i in front], [0] * len(front))
            parents += [front[i] for i in np.argsort(-gaps, kind="stable")]
        parents, spare = parents[:6], 6 - len(parents)
        kept = list(map(tuple, state.encodings.tolist()))
        real = kept[: 6 - max(spare, 0)]
        # ends of a front are equally infinite, so that order within one is free
        ranked = [next(k for k, f in enumerate(sorted_fronts) if i in f) for i in real]
        assert ranked == [
            next(k for k, f in enumerate(sorted_fronts) if i in f) for i in parents
        ]
        assert len(set(real)) == len(real)
        if not any(len(f) > 6 for f in sorted_fronts):
            whole = {i for f in sorted_fronts[: ranked[-1]] for i in f}
            assert whole <= set(real)
        infeasible = [margin[i] < 0 for i in real]
        assert infeasible == sorted(infeasible)  # none before a feasible one
        parents = real


def test_nsga2_thins_out_a_front_by_crowding():
    """Twelve cells on one line, unevenly: the ends and the four loneliest stay."""
    init, tell = compiled_nsga2()
    x = np.random.default_rng(4).permutation(np.arange(12.0) ** 2).astype(np.float32)
    scores = np.stack([x, -x, np.ones(12, np.float32)], 1)
    cells = CELLS[1::2]
    state = tell(init(jax.random.key(0)), cells[:6], scores[:6])
    state = tell(state, cells[6:], scores[6:])
    # gaps of squares grow with them: 0 is an end, and 121, 100, 81, 64, 49 are far out
    assert sorted(state.scores[:, 0].tolist()) == [0, 49, 64, 81, 100, 121]
    assert np.isinf(state.crowding[:2]).all() and not state.ranks.any()


def test_nsga2_keeps_the_cell_of_zeros():
    """Places without a reported score do not pass for that cell."""
    init, tell = compiled_nsga2()
    cells = CELLS[[0, 4, 9, 13, 18, 23]]
    # each of them dominates the next
    falling = jnp.stack([-jnp.arange(6.0), -jnp.arange(6.0), jnp.ones(6)], 1)
    state = tell(init(jax.random.key(0)), cells, falling)
    np.testing.assert_array_equal(state.encodings, cells)
    np.testing.assert_array_equal(state.scores, falling)
    assert state.ranks.tolist() == list(range(6))
    # nor later, after a first round of two cells, which leaves places empty
    two, three = np.array([1, 2, 2, 2, 2, 2]), np.array([0, 1, 2, 2, 2, 2])
    state = tell(init(jax.random.key(0)), cells[two], falling[two])
    state = tell(state, cells[three], falling[three])
    np.testing.assert_array_equal(state.encodings[:3], cells[:3])
    np.testing.assert_array_equal(state.scores[:3], falling[:3])


def test_a_nan_is_dominated_by_every_row_without():
    """Whether it is an objective or a margin, and however good the rest is."""
    init, tell = compiled_nsga2()
    scores = [[np.nan, 9, 9], [9, 9, np.nan], [0, 0, -5], [1, 1, -9], [2, 2, -7]]
    scores = jnp.array([*scores, [9, np.nan, 9.0]], jnp.float32)
    state = tell(init(jax.random.key(0)), CELLS[1:7], scores)
    np.testing.assert_array_equal(state.encodings[:3], CELLS[[3, 5, 4]])
    assert state.ranks.tolist() == [0, 1, 2, 3, 3, 3]
    assert not np.isnan(state.scores).any()


@pytest.mark.parametrize("limits", [(5,), (3, 7, 2), (2**16, 3), (6, 1, 5, 11, 40)])
def test_integers_cut_a_word_exactly(monkeypatch, limits):
    """The draws are the digits of floor(word L / 2^32) in mixed radix.

    That is monotonic in the word, so it is enough to try, for each cell, the first word
    that belongs to it and the one before. Each cell then has 2^32 / L words but for
    one, which is a factor of at most 1 + 2^-14 where L is below 2^18.
    """
    total = int(np.prod(limits))
    cells = np.unique(np.linspace(0, total - 1, 3000).astype(np.int64))
    edges = -((-cells * 2**32) // total)
    words = np.concatenate([edges, edges[1:] - 1])
    wanted = np.concatenate([cells, cells[1:] - 1])
    given = jnp.asarray(words.astype(np.uint32))[:, None]
    monkeypatch.setattr(jax.random, "bits", lambda key, shape: given)
    drawn = draws.integers(jax.random.key(0), len(words), limits, limits)
    number = np.ravel_multi_index([np.asarray(d, np.int64) for d in drawn], limits)
    np.testing.assert_array_equal(number, wanted)
    assert all(d.dtype == jnp.int32 for d in drawn)


def test_integers_begin_a_new_word_in_time(monkeypatch):
    """18 bits of limits a word: 2^9 twice, then another for 2; 2^16 and 2^3 are two."""
    shapes, bits = [], jax.random.bits

    def noted(key, shape):
        shapes.append(shape)
        return bits(key, shape)

    monkeypatch.setattr(jax.random, "bits", noted)
    for limits in ([512, 512], [512, 512, 2], [2**16, 8], [2**16, 4], [1] * 50):
        draws.integers(jax.random.key(0), 7, limits, limits)
    assert shapes == [(7, 1), (7, 2), (7, 2), (7, 1), (7, 1)]


def test_integers_of_two_words_are_independent_and_jit_is_eager():
    """Chi-square over pairs from different words; limits may be arrays."""
    rows = jnp.arange(20_000) % 3 + 1

    def draw(key):
        limits = [2**15, 2**14, rows, lambda drawn: drawn[2] + 1]
        return jnp.stack(draws.integers(key, 20_000, limits, [2**15, 2**14, 3, 3]), -1)

    eager = np.asarray(draw(jax.random.key(3)))
    np.testing.assert_array_equal(eager, jax.jit(draw)(jax.random.key(3)))
    table = np.zeros((8, 8))
    np.add.at(table, (eager[:, 0] >> 12, eager[:, 1] >> 11), 1)
    assert stats.chisquare(table.ravel()).pvalue > 1e-4
    assert not eager[np.asarray(rows) == 1, 2:].any()
    for limit in (2, 3):
        mine = eager[np.asarray(rows) == limit]
        counts = np.bincount(mine[:, 2], minlength=limit)
        assert len(counts) == limit and stats.chisquare(counts).pvalue > 1e-4
        for first in range(1, limit):
            counts = np.bincount(mine[mine[:, 2] == first, 3], minlength=first + 1)
            assert len(counts) == first + 1 and stats.chisquare(counts).pvalue > 1e-4


def test_mutate_reaches_each_neighbour_once():
    """Over all genes and steps, from every cell."""
    moves = [(g, s) for g, n in enumerate(SIZES) for s in range(1, n)]
    gene, step = jnp.asarray(moves).T
    for cell in CELLS:
        rows = jnp.tile(cell, (len(moves), 1))
        found = draws.mutate(rows, SIZES, gene, step).tolist()
        near = spaces.encoding.neighbours(jnp.asarray(cell), SIZES).tolist()
        assert sorted(found) == sorted(near)


def integer(name, low, high, value):
    """The message of a setting that must be an integer in a range."""
    return (
        f"{name} must be an integer from {low} to {high}, got {value}. "
        "Choose another value."
    )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("random_search", dict(num_proposals=0), integer("num_proposals", 1, 10**6, 0)),
        (
            "local_search",
            dict(num_proposals=-1),
            integer("num_proposals", 1, 10**6, -1),
        ),
        ("reinforce", dict(num_proposals=1.0), integer("num_proposals", 1, 10**6, 1.0)),
        (
            "regularized_evolution",
            dict(population_size=2**17),
            integer("population_size", 1, 65536, 131072),
        ),
        (
            "regularized_evolution",
            dict(population_size=4, num_proposals=5),
            integer("num_proposals", 1, 4, 5),
        ),
        (
            "regularized_evolution",
            dict(sample_size=0),
            integer("sample_size", 1, 10000, 0),
        ),
        ("nsga2", dict(population_size=1), integer("population_size", 2, 65536, 1)),
        ("nsga2", dict(num_objectives=0), integer("num_objectives", 1, 1000, 0)),
        ("nsga2", dict(num_constraints=-1), integer("num_constraints", 0, 1000, -1)),
        (
            "nsga2",
            dict(crossover_rate=1.01),
            "crossover_rate must be from 0 to 1, got 1.01. Choose another value.",
        ),
        (
            "nsga2",
            dict(mutation_rate=-0.1),
            "mutation_rate must be from 0 to 1, got -0.1. Choose another value.",
        ),
        (
            "nsga2",
            dict(population_size=2, initial=np.zeros((3, 4), int)),
            "initial must be at most 2 encodings of 4 genes inside sizes, "
            "got shape (3, 4). Make them with space.encode.",
        ),
        (
            "local_search",
            dict(initial=np.array([[0, 0, -1, 0]])),
            "initial must be at most 1000000 encodings of 4 genes inside sizes, "
            "got shape (1, 4). Make them with space.encode.",
        ),
        (
            "random_search",
            dict(initial=np.zeros(4, int)),
            "initial must be at most 1000000 encodings of 4 genes inside sizes, "
            "got shape (4,). Make them with space.encode.",
        ),
        (
            "reinforce",
            dict(initial_logits=np.zeros((4, 3))),
            "initial_logits must have the shape (4, 4), got (4, 3). "
            "Make them with spaces.gene_logits.",
        ),
    ],
)
def test_settings_have_their_message(name, settings, message):
    """Each setting out of its range, whole messages."""
    with pytest.raises(ValueError) as caught:
        registry.CONTROLLERS[name](SIZES, **settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("sizes", [(1, 1), (2, 65_537)])
def test_sizes_have_their_message(sizes):
    """Nothing to change, and more values than a word is cut for."""
    for name in ("regularized_evolution", "local_search", "nsga2"):
        with pytest.raises(ValueError) as caught:
            registry.CONTROLLERS[name](sizes)
        assert str(caught.value) == (
            "sizes must have a gene of two values or more, and none of more than 65536,"
            f" got {sizes}. Use a space within these limits."
        )
