"""A tuning whose trainings move one number: all of its programs compile at once."""

import jax.numpy as jnp

from jnas.training import promotion, ranges, rungs, scratch, trials

EXAMPLES, BATCH = 12, 4
STEPS = EXAMPLES // BATCH
WRONG_RATE = 2.0  # above it a trial diverges in its second epoch
RANGES = ranges.parse(["learning_rate:log:1e-3:1", "momentum:0:0.5"])


def splits():
    """Returns a training split of numbers, and a validation split with one."""
    x = jnp.arange(EXAMPLES, dtype=jnp.float32).reshape(-1, 1, 1, 1) / EXAMPLES
    goal = jnp.full((1, 1, 1, 1), 0.45)
    return (x, jnp.zeros(EXAMPLES, jnp.int32)), (goal, jnp.zeros(1, jnp.int32))


def trainer(numbers):
    """Returns a training whose weight moves towards the mean of each batch."""
    rate = numbers["learning_rate"]

    def init(key):
        return scratch.TrainState({"w": jnp.float32(0)}, {}, ())

    def step(key, clock, state, batch):
        w = state.params["w"]
        error = batch[0].mean() - w
        bad = (rate > WRONG_RATE) & (clock.epoch >= 1)
        w = jnp.where(bad, jnp.nan, w + rate * error)
        return state._replace(params={"w": w}), {"train_loss": error**2}

    return scratch.Trainer(init, step)


def measure(key, numbers, state, split):
    """Returns an accuracy with ties: one decimal of the distance to the goal."""
    distance = jnp.abs(state.params["w"] - split[0].mean())
    return jnp.round(1 - 2 * distance, 1)


def tuning(plan, rates=None, *, promote=promotion.rank, width=None):
    """Returns a tuning, of given learning rates or of drawn ones."""
    count = rungs.num_trials(plan)

    def draw(key):
        drawn = ranges.draw(key, RANGES, count)
        if rates is None:
            return drawn
        return drawn | {"learning_rate": jnp.array(rates, jnp.float32)}

    return trials.Tuning(trainer, measure, draw, plan, promote, EXAMPLES, BATCH, width)
