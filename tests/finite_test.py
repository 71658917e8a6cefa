"""Tests of divergence: found before it is saved, told by step and by array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import run
from jnas.run import drive, finite
from jnas.training import program

NUM_STEPS, BREAKS = 12, 7


def test_arrays_that_are_not_finite_are_named():
    """Of any floating type; keys, integers and what is free are left alone."""
    state = {
        "params": {"w": jnp.array([1.0, jnp.nan]), "b": jnp.zeros(2, jnp.bfloat16)},
        "logits": jnp.array([jnp.inf], jnp.bfloat16),
        "watched": {"eigenvalue": jnp.float32(jnp.nan)},
        "watched_too": jnp.float32(-jnp.inf),
        "key": jax.random.key(0),
        "step": jnp.int32(3),
    }
    assert finite.bad_leaves(state, free=("watched",)) == [
        "infinity in state.logits",
        "NaN in state.params.w",
        "infinity in state.watched_too",
    ]
    assert not finite.bad_leaves({"x": np.zeros(3)})


def breaking(metrics_break, params_break):
    """A program whose metric and parameter turn to NaN in the given steps."""

    def step(key, clock, state, batches):
        number = state["number"] + 1
        loss = jnp.where(number == metrics_break, jnp.nan, 1.0 / number)
        w = jnp.where(number == params_break, jnp.nan, state["w"] + 1)
        return {"number": number, "w": w}, {"loss": loss}

    return program.program(
        lambda key: {"number": jnp.int32(0), "w": jnp.zeros(3)},
        step,
        metrics=("loss",),
        num_examples=(4,),
        batch_size=1,
        num_epochs=3,
    )


def drive_it(folder, made, **options):
    """Runs a program in a workdir, in calls of any length, with many checkpoints."""
    part = jnp.zeros((4, 1, 1, 1)), jnp.zeros(4, jnp.int32)
    with run.open_run(folder, checkpoint_steps=2, **options) as r:
        phase = r.phase("search", NUM_STEPS, free=drive.FREE)
        return drive.drive(phase, made, jax.random.key(0), (part,))


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        ((BREAKS, 0), "NaN in loss at step 7 of 12"),
        ((0, BREAKS), "NaN in state.inner.w at step 8 of 12"),  # when it is to be saved
        ((BREAKS, BREAKS), "NaN in loss, NaN in state.inner.w at step 7 of 12"),
    ],
)
def test_a_run_stops_before_it_saves(tmp_path, breaks, words):
    """What is on disk is finite, and another learning rate goes on from there."""
    with pytest.raises(finite.Diverged) as caught:
        drive_it(tmp_path, breaking(*breaks), flags={"rate": 9})
    text = str(caught.value)
    assert (
        words in text
        and ", step 6 of the whole run, which is finite" in text
        and "\n" not in text
    )
    lines = run.read_metrics(tmp_path)
    assert all(line["loss"] is not None for line in lines)
    state, _ = drive_it(tmp_path, breaking(0, 0), flags={"rate": 1}, allow_changed=True)
    assert (state.inner["w"] == NUM_STEPS).all() and state.broken == 0


def test_arrays_are_named_beside_many_metrics(tmp_path):
    """A search has five metrics, which turn to NaN together."""
    bad = {"w": jnp.full(2, jnp.nan), "b": jnp.full(2, jnp.inf), "c": jnp.zeros(1)}
    metrics = dict.fromkeys("vwxyz", jnp.nan)
    with run.open_run(tmp_path) as r:
        phase = r.phase("search", 2)
        with pytest.raises(finite.Diverged) as caught:
            phase.observe(1, bad, metrics, finite_metrics=tuple("vwxyz"))
    words = "NaN in v, NaN in w, infinity in state.b, NaN in state.w and 3 more at step"
    assert words in str(caught.value)


def test_one_of_several_seeds_is_enough():
    """The first step of any of them."""
    states = program.State(None, None, {}, jnp.array([0, 9, 4]))
    assert drive.first_broken(states) == 4
    assert drive.first_broken(states._replace(broken=jnp.int32(0))) is None
