"""Tests of the time left, against simulated phases whose end is known."""

import jax
import jax.numpy as jnp
import pytest

from jnas.run import compiles, pace


class Clock:
    """A clock that is moved by hand."""

    now = 100.0

    def monotonic(self):
        """Returns the time."""
        return self.now


def simulate(monkeypatch, plan, *, epochs, steps, cost, compiles, between=(), after=()):
    """Runs a phase on a simulated clock.

    Args:
      monkeypatch: pytest's.
      plan: what the forecast expects.
      epochs: number of epochs.
      steps: number of steps of an epoch.
      cost: epoch -> seconds of a step.
      compiles: activity -> seconds of its compilation.
      between: (activity, seconds) after each epoch.
      after: (activity, seconds) after the last.

    Returns:
      (share of the phase that is over, time left as predicted, true time left) after
      each call and at the beginning of each activity.
    """
    clock, seen = Clock(), set()
    monkeypatch.setattr(pace, "time", clock)
    total = epochs * steps
    compiling = [0.0]
    forecast = pace.Forecast(total, 0, plan, lambda: compiling[0])
    marks = []

    def runs(activity, seconds):
        first = forecast.begins(activity)
        assert first == (activity not in seen)
        marks.append((clock.now, forecast.left()))
        own = 0 if activity in seen else compiles.get(activity, 0)
        clock.now, compiling[0] = clock.now + seconds + own, compiling[0] + own
        seen.add(activity)

    done = 0
    while done < total:
        epoch = done // steps
        activity = forecast._spans[forecast._span_of(done)].activity
        count = min(4 if done > 1 and activity in seen else 1, steps - done % steps)
        runs(activity, count * cost(epoch))
        done += count
        if done % steps == 0:
            for name, seconds in between:
                runs(name, seconds)
        runs("cell", 0.1)
        forecast.observe(done)
        marks.append((clock.now, forecast.left()))
    for name, seconds in after:
        runs(name, seconds)
    begin, end = 100.0, clock.now
    return [((t - begin) / (end - begin), left, end - t) for t, left in marks]


def assert_near(marks):
    """From a quarter of the phase on, within 30 % of the truth, or 3 s."""
    known = [mark[1] is not None for mark in marks].index(True)
    assert known <= 2  # the first call, of one step
    late = [mark for mark in marks[known:] if mark[0] >= 0.25]
    assert late
    for share, left, true in late:
        assert left is not None
        assert abs(left - true) <= max(0.3 * true, 3.0), (share, left, true)


def test_equal_steps(monkeypatch):
    """Nothing else, after a compilation."""
    marks = simulate(
        monkeypatch,
        pace.Plan(),
        epochs=10,
        steps=20,
        cost=lambda epoch: 0.5,
        compiles={"steps": 30, "cell": 2},
    )
    assert_near(marks)
    assert marks[0][1] is None  # nothing was timed yet


def test_an_evaluation_after_each_epoch_that_compiles_long(monkeypatch):
    """The second program compiles for 70 s at the end of the first of eight epochs."""
    marks = simulate(
        monkeypatch,
        pace.Plan(events={"watch": 20}),
        epochs=8,
        steps=20,
        cost=lambda epoch: 1.0,
        compiles={"steps": 60, "watch": 70, "cell": 1},
        between=(("watch", 9.0),),
    )
    assert_near(marks)
    # while it compiles, what is left is not zero: at least seven epochs' steps
    first = next(left for share, left, true in marks if 80 < left_at(marks, share))
    assert first is None or first >= 7 * 20


def left_at(marks, share):
    """The true time that has passed at a share."""
    end = marks[0][2]
    return share * end


def test_epochs_of_two_speeds(monkeypatch):
    """Frozen logits for 30 % of the epochs, then steps that cost 1.7 times as much."""
    marks = simulate(
        monkeypatch,
        pace.Plan((pace.Span(60, 1.0), pace.Span(140, 1.7))),
        epochs=10,
        steps=20,
        cost=lambda epoch: 1.0 if epoch < 3 else 1.7,
        compiles={"steps": 20, "cell": 1},
    )
    assert_near(marks)


def test_rounds_after_a_training(monkeypatch):
    """Each round costs as much as 30 steps, and its program compiles late."""
    marks = simulate(
        monkeypatch,
        pace.Plan((pace.Span(100), pace.Span(20, 30.0, "rounds"))),
        epochs=6,
        steps=20,
        cost=lambda epoch: 0.5 if epoch < 5 else 15.0,
        compiles={"steps": 20, "rounds": 25, "cell": 1},
    )
    assert_near(marks)


def test_an_evaluation_at_the_end(monkeypatch):
    """Its compilation is guessed from that of the steps."""
    marks = simulate(
        monkeypatch,
        pace.Plan(after=("test",)),
        epochs=6,
        steps=20,
        cost=lambda epoch: 0.5,
        compiles={"steps": 30, "test": 9, "cell": 0},
        after=(("test", 1.0),),
    )
    assert_near(marks)


def test_a_loop_that_names_no_activity(monkeypatch):
    """A user's own phase calls ``observe`` alone, which JAX's reports suffice for."""
    clock, compiling = Clock(), [0.0]
    monkeypatch.setattr(pace, "time", clock)
    forecast = pace.Forecast(10, 0, pace.Plan(), lambda: compiling[0])
    assert forecast.left() is None and forecast.rate() is None
    forecast.observe(1)
    clock.now, compiling[0] = clock.now + 52, 50.0
    forecast.observe(2)
    clock.now += 2
    forecast.observe(3)
    assert forecast.rate() == pytest.approx(0.5)
    assert forecast.left() == pytest.approx(14)


def test_nested_compilations_count_once(monkeypatch):
    """Durations come at their ends: 1 to 3 s and 4 to 5 s inside of 0 to 6 s."""
    clock = Clock()
    monkeypatch.setattr(compiles, "time", clock)
    found, begin = compiles.Compiles(), clock.now
    clock.now = begin + 3
    found.add(2)
    assert found.seconds() == 2
    clock.now = begin + 5
    found.add(1)
    assert found.seconds() == 3
    clock.now = begin + 6
    found.add(6)
    assert found.seconds() == 6
    clock.now = begin + 9
    found.add(1)
    assert found.seconds() == 7


def test_jax_reports_what_it_compiles():
    """A program of its own; running it again compiles nothing."""
    found = compiles.listener()
    before = found.seconds()
    run = jax.jit(lambda x: jnp.tanh(x) * 3.25 + x**2)
    run(jnp.ones(7)).block_until_ready()
    after = found.seconds()
    assert after > before
    run(jnp.ones(7)).block_until_ready()
    assert found.seconds() == after
