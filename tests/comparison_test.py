"""Tests of comparison and of the drawing of its traces: slow loops, closed forms."""

import itertools
import math
import os
import subprocess
import sys
from xml.etree import ElementTree

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jnas import comparison, controllers, search
from jnas.report import traces

SIZES = (3, 1, 4)
SVG = "{http://www.w3.org/2000/svg}"


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
            if best is None or row[signal] > best[signal]:
                best = row
            later = [k for k, point in enumerate(points) if point >= spent]
            for k in later:
                line[k] = best[judged]
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
    """Of equal signals the first is the answer, also where all are -inf."""
    scores = np.array([[[2.0, 10], [2.0, 20], [2.0, 30]]])
    ones = np.ones((1, 3))
    assert comparison.judge(scores, ones, 3).final.tolist() == [[2.0, 10.0]]
    scores[..., 0] = -np.inf
    outcome = comparison.judge(scores, ones, 3, judged=1, num_points=3)
    assert outcome.final[0, 1] == 10 and outcome.trace.tolist() == [[10.0] * 3]


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
    """Four runs lie on two devices, three on one; both are as on a single device."""
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
        done.stdout.splitlines(), ((4, 2), (3, 1)), strict=True
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


def trace(level, count=7):
    """Three points of a method: lower, median and upper quartile around a level."""
    cost = np.array([10.0, 20.0, 40.0])
    median = level + np.array([0.0, 2.0, 3.0])
    return traces.Trace(cost, np.stack([median - 1, median, median + 1]), count)


def drawn(**named):
    """Draws, and parses as XML; returns the root."""
    text = traces.draw(named, title="a < b & c", x_label="cost", y_label='"%"')
    return ElementTree.fromstring(text)


def pairs(element):
    """The points of a line, f[K, 2]."""
    return np.array([p.split(",") for p in element.get("points").split()], float)


def test_drawing_is_well_formed_and_has_no_style():
    """XML with hostile names in its texts; no style, script, event or request."""
    hostile = "</text><script>&\"'"
    root = drawn(**{"one": trace(50), hostile: trace(52, 9)})
    assert root.tag == f"{SVG}svg"
    texts = {element.text for element in root.iter(f"{SVG}text")}
    assert {"a < b & c", "cost", '"%"', "one", hostile, "n = 7", "n = 9"} <= texts
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {
            "svg", "rect", "clipPath", "line", "text", "polygon", "polyline"
        }  # fmt: skip
        for name, value in element.attrib.items():
            assert name not in ("style", "class", "href") and not name.startswith("on")
            assert "url(" not in value or value == "url(#frame)"


def test_drawing_puts_points_where_the_axes_say():
    """The lines' pixels against the ticks' labels, read back linearly."""
    root = drawn(one=trace(50), two=trace(54))
    labels = {"middle": [], "end": []}
    for element in root.iter(f"{SVG}text"):
        try:
            value = float(element.text.replace(",", ""))
        except ValueError:
            continue
        place = element.get("x" if element.get("text-anchor") == "middle" else "y")
        labels[element.get("text-anchor")].append((value, float(place)))
    to_x, to_y = (
        np.polyfit(*zip(*labels[a], strict=True), 1) for a in ("middle", "end")
    )
    for number, level in enumerate((50, 54)):
        wanted = trace(level)
        line = pairs(root.findall(f"{SVG}polyline")[number])
        area = pairs(root.findall(f"{SVG}polygon")[number])
        x, upper = np.polyval(to_x, wanted.cost), wanted.quartiles[2]
        # pixels are written to a tenth; a y label stands 4 pixels below its tick
        np.testing.assert_allclose(line[:, 0], x, atol=0.2)
        y = np.polyval(to_y, wanted.quartiles[1]) - 4
        np.testing.assert_allclose(line[:, 1], y, atol=0.2)
        around = [*upper, *wanted.quartiles[0][::-1]]
        np.testing.assert_allclose(area[:, 1], np.polyval(to_y, around) - 4, atol=0.2)
        np.testing.assert_allclose(area[:, 0], [*x, *x[::-1]], atol=0.2)
    # up is higher: the second method lies above, inside the frame
    assert line[-1, 1] < pairs(root.find(f"{SVG}polyline"))[-1, 1]
    assert traces.TOP <= area[:, 1].min() and line[-1, 0] == 760 - traces.RIGHT


def test_drawing_gives_each_method_a_colour_and_leaves_out_the_empty():
    """A line, its band and its legend share a colour; nothing to draw is refused."""
    empty = traces.Trace(np.zeros(0), np.zeros((3, 0)), 5)
    root = drawn(one=trace(1), nothing=empty, two=trace(2))
    lines = [e.get("stroke") for e in root.findall(f"{SVG}polyline")]
    bands = [e.get("fill") for e in root.findall(f"{SVG}polygon")]
    assert lines == bands == list(traces.COLOURS[:2])
    legend = [e.get("fill") for e in root.findall(f"{SVG}rect")]
    assert legend[1:] == lines
    assert "nothing" not in {e.text for e in root.iter(f"{SVG}text")}
    with pytest.raises(ValueError) as caught:
        drawn(nothing=empty)
    assert str(caught.value) == "traces must hold a point, got none. Raise the budget."


def test_drawing_of_one_constant_value_has_finite_pixels():
    """An axis without extent gets one."""
    root = drawn(one=traces.Trace(np.ones(1), np.full((3, 1), 7.0), 1))
    (point,) = pairs(root.find(f"{SVG}polyline"))
    # 7 is the middle of the axis from 6.5 to 7.5
    middle = (traces.TOP + traces.HEIGHT - traces.BOTTOM) / 2
    np.testing.assert_allclose(point, [760 - traces.RIGHT, middle], atol=0.1)


@hypothesis.given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e6))
@hypothesis.example(0.0, 100.0)
@hypothesis.example(-1.0, 2.0)
@hypothesis.example(1.0, 10.05)
@hypothesis.settings(deadline=None, max_examples=300)
def test_ticks_are_round(low, width):
    """Multiples of 1, 2 or 5 times a power of ten, all that lie inside, in order."""
    found = traces.ticks(low, low + width)
    # steps are 1 / 5 to 1 / 2 of the width, so that two to five of them fit
    assert 2 <= len(found) <= 6
    step = found[1] - found[0]
    digits = f"{step:.3e}"
    assert digits[:5] in ("1.000", "2.000", "5.000")
    step = float(digits)
    numbers = np.array(found) / step
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-5)
    assert (np.diff(np.round(numbers)) == 1).all()
    slack = 1e-6 * step
    assert low - slack <= found[0] < low + step + slack
    assert low + width - step - slack < found[-1] <= low + width + slack
    # a reader sees no rounding errors
    assert all(len(f"{tick:g}") <= len(repr(tick)) <= 12 for tick in found)
