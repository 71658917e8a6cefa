"""Tests of comparison: slow loops and closed forms."""

import itertools
import math
import os
import subprocess
import sys

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jnas.discrete import comparison, controllers, search

SIZES = (3, 1, 4)


def two_metrics(key, encodings):
    """The sum of the genes, NaN where it is 2, and its negative."""
    del key
    total = encodings.sum(-1, keepdims=True).astype(jnp.float32)
    return jnp.concatenate([jnp.where(total == 2, jnp.nan, total), -total], 1)


def slow_judge(scores, costs, budget, signal, judged, num_points):
    """Judges run by run and evaluation by evaluation, in plain Python."""
    finals, counts, lines = [], [], []
    points = [budget * (k + 1) / num_points for k in range(num_points)]
    for rows, prices in zip(scores, costs, strict=True):
        spent, best, count, line = 0.0, None, 0, [math.nan] * num_points
        for row, price in zip(rows, prices, strict=True):
            spent += price
            if spent > budget:
                break
            count += 1
            if row[signal] > (-math.inf if best is None else best[signal]):
                best = row
            later = [k for k, point in enumerate(points) if point >= spent]
            for k in later:
                line[k] = math.nan if best is None else best[judged]
        finals.append([math.nan] * len(rows[0]) if best is None else best)
        counts.append(count)
        lines.append(line)
    return finals, counts, points, lines


@st.composite
def runs(draw):
    """Scores with ties and -inf, and prices in quarters, which float64 adds exactly."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.choice([-np.inf, 0.0, 1.0, 2.0, 3.0], (*shape, 3))
    costs = rng.integers(1, 9, shape) / 4
    # the third metric tells equals apart
    scores[..., 2] = np.arange(shape[0] * shape[1]).reshape(shape)
    return scores.astype(np.float32), costs


@hypothesis.given(
    runs(), st.sampled_from([0.125, 1, 4, 8, 64]), st.integers(0, 1), st.integers(0, 2)
)
@hypothesis.settings(deadline=None, max_examples=150)
def test_judge_is_the_plain_loop(drawn, budget, signal, judged):
    """Finals, counts, points and traces are exactly those of a loop."""
    scores, costs = drawn
    outcome = comparison.judge(
        scores, costs, budget, signal=signal, judged=judged, num_points=16
    )
    slow = slow_judge(scores.tolist(), costs.tolist(), budget, signal, judged, 16)
    for fast, wanted in zip(outcome, slow, strict=True):
        np.testing.assert_array_equal(fast, wanted)


def test_a_run_without_a_signal_has_no_result():
    """Not the figures of its first proposal, which nothing speaks for."""
    scores = np.array([[[-np.inf, 7.0], [-np.inf, 8.0], [2.0, 3.0]]])
    costs = np.ones((1, 3))
    outcome = comparison.judge(scores, costs, 2, judged=1, num_points=2)
    assert np.isnan(outcome.final).all() and np.isnan(outcome.trace).all()
    assert outcome.evaluations.tolist() == [2]
    outcome = comparison.judge(scores, costs, 3, judged=1, num_points=3)
    assert outcome.final.tolist() == [[2.0, 3.0]]
    np.testing.assert_array_equal(outcome.trace, [[np.nan, np.nan, 3.0]])


def test_judge_drops_the_evaluation_that_crosses_the_budget():
    """Seconds: the crossing evaluation, the best of all, and cheap ones after it."""
    scores = np.array([[[1.0], [3.0], [9.0], [5.0]]])
    costs = np.array([[40.0, 30.0, 50.0, 1.0]])
    outcome = comparison.judge(scores, costs, 100.0, num_points=10)
    assert outcome.evaluations.tolist() == [2] and outcome.final.tolist() == [[3.0]]
    # points 10, 20, ..., 100: nothing before 40, the first until 70, then the second
    wanted = [np.nan] * 3 + [1.0] * 3 + [3.0] * 4
    np.testing.assert_array_equal(outcome.trace, [wanted])
    # a budget that is met exactly pays for the evaluation that meets it
    assert comparison.judge(scores, costs, 120.0).final.tolist() == [[9.0]]


def test_judge_forgives_the_rounding_of_a_sum_only():
    """Ten times 0.1 sums to less or more than 1 by an ulp, and is 10 evaluations."""
    scores = np.arange(12.0)[None, :, None]
    for price, budget in ((0.1, 1.0), (0.1, 0.3), (0.7, 2.1)):
        costs = np.full((1, 12), price)
        wanted = round(budget / price)
        outcome = comparison.judge(scores, costs, budget)
        assert outcome.evaluations.tolist() == [wanted]
        assert outcome.trace[0, -1] == outcome.final[0, 0] == wanted - 1
        short = comparison.judge(scores, costs, budget * (1 - 1e-9))
        assert short.evaluations.tolist() == [wanted - 1]


def test_judge_keeps_the_first_of_equals():
    """Of equal signals the first is the result; where all are -inf there is none."""
    scores = np.array([[[2.0, 10], [2.0, 20], [2.0, 30]]])
    ones = np.ones((1, 3))
    assert comparison.judge(scores, ones, 3).final.tolist() == [[2.0, 10.0]]
    scores[..., 0] = -np.inf
    assert np.isnan(comparison.judge(scores, ones, 3).final).all()


def two_sided(values, others):
    """Mann and Whitney's p by listing every division of the ranks, without ties."""
    together = sorted([*values, *others])
    ranks = [together.index(v) for v in values]
    middle = len(values) * (len(together) - 1) / 2  # the mean of the sum of ranks
    all_sums = [
        sum(c) for c in itertools.combinations(range(len(together)), len(values))
    ]
    far = [s for s in all_sums if abs(s - middle) >= abs(sum(ranks) - middle)]
    return len(far) / len(all_sums)


def test_p_value_counts_divisions_of_the_ranks():
    """Exact for a few values: by listing, and 2 / C(6, 3) for samples apart."""
    assert comparison.p_value([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(0.1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        values, others = rng.normal(size=5), rng.normal(size=4)
        wanted = two_sided(values.tolist(), others.tolist())
        assert comparison.p_value(values, others) == pytest.approx(wanted)


def test_p_value_is_symmetric_and_small_for_shifted_samples():
    """Two samples of 200 with ties: alike, and apart by one standard deviation."""
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=(2, 200)).round(1)
    for shift in (0.0, 0.2, 1.0):
        p = comparison.p_value(one, two + shift)
        assert p == pytest.approx(comparison.p_value(two + shift, one))
        assert p == pytest.approx(comparison.p_value(-one, -two - shift))
    # U's standard deviation is 200 sqrt(401 / 12) = 1156, a shift of one sd moves it
    # by 200^2 (Phi(1 / sqrt 2) - 1 / 2) = 10,400: nine of them, p about 1e-19
    assert (
        comparison.p_value(one, two + 1) < 1e-12 < 1e-3 < comparison.p_value(one, two)
    )


@pytest.mark.parametrize(
    ("num_proposals", "num_evaluations"), [(3, 7), (3, 6), (4, 2), (1, 5)]
)
def test_play_is_searches_cut_to_length(num_proposals, num_evaluations):
    """Each run is a discrete search in order; surplus is dropped, NaN is -inf."""
    controller = controllers.random_search(SIZES, num_proposals=num_proposals)
    found = comparison.play(
        controller, two_metrics, num_runs=2, num_evaluations=num_evaluations, seed=5
    )
    assert found.encodings.shape == (2, num_evaluations, 3)
    assert found.scores.shape == (2, num_evaluations, 2)
    assert found.encodings.dtype == np.int32 and found.scores.dtype == np.float32
    assert found.seconds > 0 and found.compile_seconds > 0
    rounds = math.ceil(num_evaluations / num_proposals)
    for run, key in enumerate(jax.random.split(jax.random.key(5), 2)):
        history = search.discrete_search(
            key, controller, two_metrics, num_rounds=rounds
        )[1]
        rows = np.concatenate(history.encodings)[:num_evaluations]
        np.testing.assert_array_equal(found.encodings[run], rows)
    total = found.encodings.sum(-1)
    wanted = np.stack([np.where(total == 2, -np.inf, total), -total], -1)
    np.testing.assert_array_equal(found.scores, wanted)


def test_play_repeats_a_seed_and_only_that():
    """Runs differ from one another and by seed; a seed gives the same runs."""
    controller = controllers.random_search(SIZES)

    def play(seed):
        settings = dict(num_runs=3, num_evaluations=20, seed=seed)
        return comparison.play(controller, two_metrics, **settings).encodings

    first = play(0)
    np.testing.assert_array_equal(first, play(0))
    # 20 draws of 12 cells are equal by chance once in 12^20
    assert not np.array_equal(first, play(1))
    assert not np.array_equal(first[0], first[1])


PLAY = """
import sys
import jax
from jnas import comparison, controllers

def objective(key, encodings):
    return encodings.sum(-1, keepdims=True).astype("float32")

assert jax.local_device_count() == 2
controller = controllers.random_search((3, 1, 4))
for num_runs in (4, 3):
    runner = comparison.runner(
        controller, objective, num_runs=num_runs, num_evaluations=5
    )
    encodings = runner.call(jax.random.key(0)).encodings
    print(len(encodings.sharding.device_set), encodings.tolist())
"""


def test_play_divides_runs_among_devices():
    """Four runs lie on two devices, three on each; all are as on a single device."""
    env = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", PLAY],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    for line, (num_runs, devices) in zip(
        done.stdout.splitlines(), ((4, 2), (3, 2)), strict=True
    ):
        count, told = line.split(" ", 1)
        alone = comparison.runner(
            controllers.random_search(SIZES),
            two_metrics,
            num_runs=num_runs,
            num_evaluations=5,
        )
        assert int(count) == devices
        assert told == str(alone.call(jax.random.key(0)).encodings.tolist())
