"""Tests of tuning as one program, with a training of one number that is fast."""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_tuning import BATCH, EXAMPLES, RANGES, WRONG_RATE, splits, tuning

from jnas import run
from jnas.data import batches
from jnas.run import drive
from jnas.training import program as program_lib
from jnas.training import promotion, ranges, rungs, trials


def run_all(made, *, most=None):
    """Runs a program to its end, at most so many steps a call."""
    program = trials.program(made)
    ends, metrics = [], []

    def observe(step, state, values, epoch_ended):
        if epoch_ended:
            ends.append(step)
            metrics.append({name: float(one) for name, one in values.items()})

    state, _ = program_lib.run(
        program,
        program.init(jax.random.key(3)),
        splits(),
        suggest_steps=(lambda: most) if most else None,
        observe=observe,
    )
    assert tuple(ends) == program.ends
    return state, metrics


def reference(plan, rates, key):
    """Plays a plan in plain Python: lists of trials, sorted after each rung."""
    images = np.asarray(splits()[0][0])
    order_key = jax.random.split(key, 3)[0]
    epochs = max(one.stop for one in plan)
    orders = [np.asarray(batches.order(order_key, e, EXAMPLES, BATCH))
              for e in range(epochs)]  # fmt: skip
    w, score, done = [0.0] * len(rates), [0.0] * len(rates), [0] * len(rates)
    lost, alive = set(), {}
    for rung in plan:
        size = sum(1 for one in plan if one.first == rung.first)
        everyone = range(rung.first, rung.first + rung.num_trials)
        names = alive.get(rung.first, list(everyone))[: rung.num_trials]
        assert size and len(names) == rung.num_trials
        for i in names:
            for epoch in range(rung.start, rung.stop):
                for rows in orders[epoch]:
                    if rates[i] > WRONG_RATE and epoch >= 1:
                        lost.add(i)
                    if i not in lost:
                        w[i] += rates[i] * (images[rows].mean() - w[i])
            score[i] = (
                promotion.LOST if i in lost else round(1 - 2 * abs(w[i] - 0.45), 1)
            )
            done[i] = rung.stop
        alive[rung.first] = sorted(names, key=lambda i: (-score[i], i))
    return w, score, done, lost, alive


def check(made, rates, state):
    """Compares a state with the reference."""
    inner = jax.device_get(state.inner)
    w, score, done, lost, alive = reference(made.rungs, rates, state.key)
    np.testing.assert_allclose(inner.train.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(inner.score, score, atol=1e-6)
    assert inner.epochs.tolist() == done
    assert set(np.flatnonzero(inner.diverged)) == lost
    for first, names in alive.items():
        assert inner.ranked[first : first + len(names)].tolist() == names
    best = max(range(len(rates)), key=lambda i: (done[i], score[i], -i))
    assert int(promotion.winner(state.inner)) == best
    return inner


# the two of .3 tie, and so do those of .01: the lower number continues; 3 diverges
NINE = [0.01, 0.3, 0.02, 3.0, 0.3, 0.1, 0.01, 0.2, 0.05]


@pytest.mark.parametrize("width", [1, 2])
def test_halving_promotes_as_a_plain_loop_does(width):
    """Rungs of 9, 3 and 1 trials; ties, a trial that diverges, a chunk too wide."""
    plan = rungs.halving(9, min_epochs=2, max_epochs=8, eta=3)
    made = tuning(plan, NINE, width=width)
    state, metrics = run_all(made)
    inner = check(made, NINE, state)
    assert sorted(inner.rung.tolist()) == [0] * 6 + [1] * 2 + [2]
    assert [one["trials"] for one in metrics] == [9, 3, 1]
    assert [one["diverged"] for one in metrics] == [1, 0, 0]
    assert all(np.isfinite(list(one.values())).all() for one in metrics)
    assert np.isfinite(inner.train.params["w"]).all() and state.broken == 0


def test_hyperband_is_its_brackets():
    """Each bracket is a halving of its own trials, in one program."""
    plan = rungs.hyperband(9, min_epochs=1, max_epochs=4, eta=2)
    made = tuning(plan, NINE)
    check(made, NINE, run_all(made)[0])


def test_calls_of_any_length_give_the_same_bits():
    """And one compiled program serves every rung."""
    plan = rungs.halving(4, min_epochs=1, max_epochs=4, eta=2)
    whole = run_all(tuning(plan))[0]
    for most in (1, 2, 5):
        part = run_all(tuning(plan), most=most)[0]
        for old, new in zip(*map(jax.tree.leaves, (whole, part)), strict=True):
            if jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
                old, new = jax.random.key_data(old), jax.random.key_data(new)
            np.testing.assert_array_equal(old, new)
    program = trials.program(tuning(plan))
    program_lib.run(program, program.init(jax.random.key(0)), splits(),
                    suggest_steps=lambda: 2)  # fmt: skip
    assert program.advance._cache_size() == program.at_epoch_end._cache_size() == 1


def test_a_killed_tuning_resumes_to_the_same_bits(tmp_path):
    """A process dies in the second rung; the next ends as an undisturbed one does."""
    plan = rungs.halving(4, min_epochs=1, max_epochs=4, eta=2)

    def tune(folder, *, dies_at=None):
        program = trials.program(tuning(plan, [0.1, 3.0, 0.3, 0.2]))
        with run.open_run(folder, checkpoint_steps=5) as r:
            phase = r.phase("tune", program.num_steps, free=drive.FREE)
            steps, seen = phase.suggest_steps, []

            def suggest_steps():
                seen.append(1)
                if dies_at == len(seen):
                    raise OSError("killed")
                return min(2, steps())

            phase.suggest_steps = suggest_steps
            state, _ = drive.drive(phase, program, jax.random.key(1), splits())
            phase.end({})
        return jax.device_get(state.inner)

    whole = tune(tmp_path / "whole")
    with pytest.raises(OSError, match="killed"):
        tune(tmp_path / "part", dies_at=9)
    text = (tmp_path / "part" / "metrics.jsonl").read_text()
    assert 0 < len(text.splitlines()) < len(plan)
    resumed = tune(tmp_path / "part")
    for old, new in zip(*map(jax.tree.leaves, (whole, resumed)), strict=True):
        np.testing.assert_array_equal(old, new)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in
             ("whole", "part")]  # fmt: skip
    assert [json.loads(x) for x in lines[0].splitlines()] == [
        json.loads(x) for x in lines[1].splitlines()
    ]


def test_pbt_copies_the_best_and_varies_them():
    """Each copy is of the first quarter, times 0.8 or 1.2, inside the ranges."""
    plan = rungs.intervals(8, every=1, max_epochs=3)
    limits = {one.name: one for one in RANGES}
    calls = []

    def promote(key, before, number, first, count):
        after = promotion.evolve(
            key, before, number, first, count, num_rungs=len(plan),
            inside=lambda n: {name: limits[name].inside(x) for name, x in n.items()},
        )  # fmt: skip
        jax.debug.callback(lambda *a: calls.append(a), number, before, after)
        return after

    state = run_all(tuning(plan, promote=promote))[0]
    jax.effects_barrier()
    calls.sort(key=lambda one: int(one[0]))
    assert [int(number) for number, *_ in calls] == [0, 1, 2]
    for number, old, new in calls:
        order = sorted(range(8), key=lambda i: (-old.score[i], i))
        assert new.ranked.tolist() == order
        for i in range(8):
            source = i
            if number < 2 and i in order[6:]:
                source = int(new.copied[i])
                assert source in order[:2]
            assert new.train.params["w"][i] == old.train.params["w"][source]
            for name, one in limits.items():
                was, now = float(old.numbers[name][source]), float(new.numbers[name][i])
                wanted = [was] if source == i else [
                    min(max(was * f, one.low), one.high) for f in (0.8, 1.2)
                ]  # fmt: skip
                assert any(now == pytest.approx(x, rel=1e-6) for x in wanted)
    assert (state.inner.copied >= 0).sum() >= 2


def test_a_last_rung_is_no_stub():
    """At least half as long as the one before; nothing else of a plan changes."""
    for count, least, eta in itertools.product((1, 9, 27, 64), (1, 2, 4), (2, 3, 4)):
        for most in range(least, 120):
            plan = rungs.halving(count, min_epochs=least, max_epochs=most, eta=eta)
            assert plan[-1].stop == most
            assert [one.num_trials for one in plan] == [
                max(1, count // eta**k) for k in range(len(plan))
            ]
            assert [one.stop for one in plan[:-1]] == [
                least * eta**k for k in range(len(plan) - 1)
            ]
            if len(plan) > 2:
                before, last = (one.stop - one.start for one in plan[-2:])
                assert 2 * last >= before


def test_rungs_are_those_of_the_papers():
    """Hyperband's table of 81 epochs, by its formula; halving; what they cost."""
    plan = rungs.hyperband(143, min_epochs=1, max_epochs=81, eta=3)
    starts = {}
    for one in plan:
        starts.setdefault(one.first, (one.num_trials, one.stop))
    # ceil(5 * 3^s / (s + 1)) trials at 81 / 3^s epochs for s = 4 ... 0
    assert list(starts.values()) == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
    plan = rungs.halving(64, min_epochs=1, max_epochs=27, eta=3)
    assert [(one.num_trials, one.stop) for one in plan] == [
        (64, 1), (21, 3), (7, 9), (2, 27)
    ]  # fmt: skip
    text = rungs.describe(plan, images_per_epoch=100)
    assert text == (
        "trials 64: rungs 64x1, 21x3, 7x9, 2x27 = 184 epochs of 100 images, "
        "18,400 images in all"
    )
    assert 64 * 1 + 21 * 2 + 7 * 6 + 2 * 18 == 184
    uneven = rungs.halving(2, min_epochs=2, max_epochs=50, eta=4)
    assert [(one.num_trials, one.start, one.stop) for one in uneven] == [
        (2, 0, 2), (1, 2, 8), (1, 8, 32), (1, 32, 50)
    ]  # fmt: skip
    for count in range(4, 30):
        plan = rungs.hyperband(count, min_epochs=1, max_epochs=27, eta=3)
        assert rungs.num_trials(plan) == count
    with pytest.raises(ValueError, match="trials must be at least 4, .* got 3"):
        rungs.hyperband(3, min_epochs=1, max_epochs=27, eta=3)


def test_ranges_are_drawn_evenly():
    """Uniform in the logarithm or not, and inside; the quartiles say so."""
    made = ranges.parse(["learning_rate:log:1e-4:1", "drop_path_rate:0.1:0.5"])
    drawn = ranges.draw(jax.random.key(0), made, 4000)
    exponents = np.log10(np.asarray(drawn["learning_rate"], np.float64))
    # standard error of a quartile of 4,000 draws: .007 of the range; four of them
    for share in (0.25, 0.5, 0.75):
        assert np.quantile(exponents, share) == pytest.approx(-4 + 4 * share, abs=0.12)
        found = np.quantile(drawn["drop_path_rate"], share)
        assert found == pytest.approx(0.1 + 0.4 * share, abs=0.012)
    assert drawn["learning_rate"].min() >= 1e-4 and drawn["learning_rate"].max() <= 1
    both = np.corrcoef(exponents, drawn["drop_path_rate"])[0, 1]
    assert abs(both) < 0.07  # drawn apart


@pytest.mark.parametrize(
    "texts, words",
    [
        ([], "must name at least one range, got none. Write --tune="),
        (["learning_rate"], "must hold name:low:high or name:log:low:high, got 'lea"),
        (["learning_rate:1:2:3"], "name:log:low:high, got 'learning_rate:1:2:3'"),
        (["learning_rate:log:a:1"], "got 'learning_rate:log:a:1'. Write --tune="),
        (["lr:log:1e-3:1"], "got 'lr'. Did you mean 'learning_rate'?"),
        (["mixup:1:0.5"], "finite bounds, the lower one first, got 'mixup:1:0.5'"),
        (["mixup:0:inf"], "finite bounds"),
        (["mixup:nan:1"], "finite bounds"),
        (["weight_decay:log:0:1"], "a lower bound above 0 where it is log"),
        (["momentum:0.5:1"], "keep momentum at least 0 and below 1"),
        (["drop_path_rate:-0.1:0.3"], "keep drop_path_rate at least 0"),
        (["clip_norm:0:5"], "keep clip_norm above 0"),
        (["mixup:0:1", "mixup:0:2"], "must name each number once, got mixup twice"),
    ],
)
def test_wrong_ranges_say_what_to_write(texts, words):
    """One line each."""
    with pytest.raises(ValueError) as error:
        ranges.parse(texts)
    assert words in str(error.value) and str(error.value).startswith("tune must")
    assert "\n" not in str(error.value)


def test_ranked_parts_do_not_touch_each_other():
    """Sorting one bracket leaves the others and its own lost trials in place."""
    ranked = jnp.array([1, 0, 2, 5, 4, 3])
    state = promotion.Trials(*[None] * 9)._replace(
        ranked=ranked, score=jnp.array([0.1, 0.9, 0.5, 0.2, 0.2, 0.7])
    )
    sort = functools.partial(promotion.rank, None, state, None)
    assert sort(3, 3).ranked.tolist() == [1, 0, 2, 5, 3, 4]  # 3 and 4 tie
    assert sort(0, 2).ranked.tolist() == [1, 0, 2, 5, 4, 3]
