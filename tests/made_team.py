"""A launcher that trains a small network on random images, for tests of processes.

    python made_team.py --workdir=W [--coordinator=... --num_processes=2 --process=0]

With the environment's DIE="i,step" process i kills itself once a step is recorded, and
with OTHER="i" it has other images. SLOW seconds pass after each call. Process 0
compiles for DELAY seconds more.
"""

import hashlib
import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import run
from jnas.run import drive
from jnas.training import placement, program

run.define_run_flags()
run.define_processes()
FEATURES, CLASSES = 16, 4


def images():
    """Images uint8[160, 4, 4, 1] and labels."""
    other = os.environ.get("OTHER") == str(jax.process_index())
    draw = np.random.default_rng(1 if other else 0)
    x = draw.integers(0, 255, (160, 4, 4, 1), np.uint8)
    return x, draw.integers(0, CLASSES, 160, np.int32)


def training(num_seeds):
    """Twelve epochs of a layer, a batch norm and another layer."""

    def init(key):
        first, second = jax.random.split(key)
        return (
            0.3 * jax.random.normal(first, (FEATURES, 8)),
            0.3 * jax.random.normal(second, (8, CLASSES)),
        )

    def step(key, clock, weights, splits):
        ((x, y),) = splits
        if jax.process_index() == 0:  # while it is traced
            time.sleep(float(os.environ.get("DELAY", 0)))

        def loss(weights):
            hidden = x.reshape(len(x), -1) / 255.0 @ weights[0]
            hidden = (hidden - hidden.mean(0)) / (hidden.std(0) + 1e-3)
            logits = jnp.tanh(hidden) @ weights[1]
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, grads = jax.value_and_grad(loss)(weights)
        moved = jax.tree.map(lambda w, g: w - 0.5 * g, weights, grads)
        return moved, {"loss": value}

    return program.program(
        init,
        step,
        metrics=("loss",),
        num_examples=(160,),
        batch_size=16,
        num_epochs=12,
        num_seeds=num_seeds,
    )


class Disturbed:
    """A phase whose process dies, or dawdles, after a step."""

    def __init__(self, phase):
        """Wraps a phase."""
        self._phase = phase
        self._who, self._when = map(int, os.environ.get("DIE", "-1,0").split(","))

    def __getattr__(self, name):
        """Returns the attribute of the phase."""
        return getattr(self._phase, name)

    def observe(self, step, *args, **kwargs):
        """Records a step."""
        self._phase.observe(step, *args, **kwargs)
        time.sleep(float(os.environ.get("SLOW", 0)))
        if self._who == jax.process_index() and step >= self._when:
            os.kill(os.getpid(), signal.SIGKILL)


def main():
    """Trains; the result is the loss and where it ran."""
    if os.environ.get("MISSING") == str(jax.process_index()):
        raise ValueError("data must exist, got none. Copy them.")
    x, y = images()
    seeds = int(os.environ.get("SEEDS", 0)) or None
    made = training(seeds)
    digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
    with run.from_flags(digest, settings={"seeds": seeds}) as r:
        if r.finished is not None:
            print(f"finished: {r.finished['loss']}")
            return
        if "WRONG" in os.environ:
            raise ValueError("x must be 1, got 2. Write 1.")
        phase = r.phase("train", made.num_steps, free=drive.FREE)
        if phase.result is None:
            state, metrics = drive.drive(
                Disturbed(phase), made, jax.random.key(r.seed), ((x, y),)
            )
            weights = [np.asarray(leaf).ravel()[:3].tolist() for leaf in state.inner]
            phase.end(metrics | {"weights": weights})
        r.hand_over()
        r.finish({**phase.result, "mesh": placement.layout(made.groups)})
        print(f"loss {phase.result['loss']}")


if __name__ == "__main__":
    run.launch(main)
