"""Tests of the measuring: what is counted, in which order, and that rates are rates."""

import sys
import time

import jax
import jax.numpy as jnp
import pytest

from jnas.training import timing

pytestmark = pytest.mark.usefixtures("compiled_anew")


def test_compile_timed_counts_bytes_and_keeps_the_donation():
    """float32[1024]: one argument of 4 KiB, two results of 4 and 4 KiB."""

    def step(state, scale):
        return state * scale, state.sum() + scale

    state, scale = jnp.ones(1024), jnp.float32(2)
    compiled = timing.compile_timed(step, state, scale)
    assert compiled.argument_bytes == 4096 + 4
    # a tuple's results: XLA's CPU backend adds the tuple of 8-byte pointers
    assert 4096 + 4 <= compiled.output_bytes <= 4096 + 4 + 16
    assert compiled.trace_seconds > 0 and compiled.compile_seconds > 0
    compiled.call(state, scale)
    assert not state.is_deleted()
    donating = timing.compile_timed(jax.jit(step, donate_argnums=0), state, scale)
    new, total = donating.call(state, scale)
    assert state.is_deleted() and new[0] == 2 and total == 1026


def test_moved_bytes():
    """1 + 2 + 2 * 4: temporaries go both ways."""
    compiled = timing.Compiled(None, 0.0, 0.0, 1, 2, 4)
    assert timing.moved_bytes(compiled) == 11


def test_temporaries_are_counted():
    """A sorted copy of x is alive while its differences are taken."""

    def spread(x):
        ordered = jnp.sort(x)
        return (ordered[1:] * ordered[:-1]).sum()

    compiled = timing.compile_timed(spread, jnp.ones(1024))
    assert compiled.temp_bytes >= 4096


def test_interleave_takes_turns_and_its_numbers_are_seconds(monkeypatch):
    """One warm-up each, then rounds; times by a clock that is told."""
    order = []
    clock = iter([0.0, 1.0, 10.0, 13.0, 20.0, 25.0, 30.0, 31.0, 40.0, 42.0, 50.0, 50.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    times = timing.interleave(calls, 3)
    assert "".join(order) == "ab" + "ababab"
    # a: 1, 5, 2 seconds; b: 3, 1, 0.5
    assert times == {"a": (2.0, 1.0, 5.0), "b": (1.0, 0.5, 3.0)}


def test_interleave_waits_for_the_result():
    """What is dispatched and not ready is not timed as done."""
    seconds = 0.05

    def slow(x):
        time.sleep(seconds)
        return x

    call = jax.jit(
        lambda x: jax.pure_callback(slow, jax.ShapeDtypeStruct((), jnp.float32), x)
    )
    times = timing.interleave({"slow": lambda: call(jnp.float32(0))}, 2)
    assert times["slow"].least >= seconds


def test_no_round_is_refused():
    """It would have no median."""
    with pytest.raises(ValueError, match="^repeats must be at least 1, got 0. Raise"):
        timing.interleave({}, 0)


def test_carrying_goes_on():
    """Each call takes the state of the one before; a donated one as well."""
    step = jax.jit(lambda state, by: (state + by, state), donate_argnums=0)
    call = timing.carrying(step, jnp.float32(1), jnp.float32(2))
    assert [float(call()[0]) for _ in range(3)] == [3, 5, 7]


def test_rates_are_those_of_the_times(monkeypatch):
    """2 * 8**3 operations, 2 * 4 KiB moved, in a second and in half a second."""
    times = {"product": timing.Times(1.0, 1.0, 1.0), "negate": timing.Times(0.5, 0, 1)}
    monkeypatch.setattr(timing, "interleave", lambda calls, repeats: times)
    rates = timing.machine_rates(side=8, num_bytes=4096)
    assert rates == (1024.0, 16384.0)


def test_machine_rates_run():
    """Small ones; the same functions are timed."""
    rates = timing.machine_rates(side=64, num_bytes=2**16, repeats=2)
    assert rates.matmul_flops > 0 and rates.copy_bytes > 0


def test_peak_bytes(monkeypatch):
    """More than an array that was held; None where the system does not tell."""
    held = jnp.ones(2**22).block_until_ready()
    assert timing.peak_bytes() > held.nbytes
    if jax.default_backend() == "cpu":
        monkeypatch.setitem(sys.modules, "resource", None)
        assert timing.peak_bytes() is None
