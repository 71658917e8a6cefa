"""Programs on four CPU devices, in float64: prints what each mesh computes, as JSON.

    python made_placements.py [gpu]

With ``gpu``, the primitives have their forms of GPU.
"""

import collections
import dataclasses
import functools
import json
import math
import os
import re
import sys

os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
)

import jax  # noqa: E402 after its flags

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jnas import data, gradient, networks, registry, spaces  # noqa: E402
from jnas.data import augment as augment_lib  # noqa: E402
from jnas.discrete import comparison, controllers, objectives  # noqa: E402
from jnas.training import (  # noqa: E402  # noqa: E402
    optimizers,
    placement,
    program,
    promotion,
    rungs,
    scratch,
    trials,
)

KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
SIZE = networks.Size(2, 1, 3, channels=1)
SPACE = dataclasses.replace(
    spaces.zoo.tiny(), name="mini", cells=("cell",), num_nodes=1, concat=(2,)
)
AUGMENT = data.Augment((0.5,), (0.25,), crop_padding=1, flip=True, cutout=2)
CELLS = jnp.asarray(np.random.default_rng(0).integers(0, 3, (6, 2)), jnp.int32)


def use_forms_of_gpu():
    """Lowers the primitives for CPU as for GPU."""
    from jax.interpreters import mlir

    from jnas.ops.kernels import dense, pointwise, pool_forms, window_forms, windows

    pools = (
        pool_forms.window_sum_native,
        pool_forms.window_spread_native,
        pool_forms.window_max_native,
    )
    for primitives, forms in (
        (windows.DEPTHWISE, window_forms.UNDILATED),
        (dense.DENSE, dense.NATIVE),
        (pointwise.POINTWISE, pointwise.SPLIT),
        ((windows.SUM, windows.SPREAD, windows.MAX), pools),
    ):
        for primitive, form in zip(primitives, forms, strict=True):
            lowering = mlir.lower_fun(form, multiple_results=False)
            mlir.register_lowering(primitive, lowering, platform="cpu")


def images(size, seed):
    """Images uint8[N, 6, 6, 1] whose brightness is their class, and labels."""
    labels = np.arange(size) % 3
    drawn = np.random.default_rng(seed).integers(0, 60, (size, 6, 6, 1))
    pixels = drawn + 80 * labels[:, None, None, None]
    return np.uint8(pixels), np.int32(labels)


SPLITS = images(32, 0), images(16, 1)


def collectives(text):
    """Returns kind -> (count, numbers of the largest operand) of a compiled program."""
    count, largest = collections.Counter(), collections.Counter()
    for line in text.splitlines():
        match = re.search(rf"= (.*?) ({KINDS})(-start)?\(", line)
        if match:
            shapes = re.findall(r"[a-z]\w*\[([\d,]*)\]", match[1])
            sizes = [math.prod(int(d) for d in s.split(",") if d) for s in shapes]
            count[match[2]] += 1
            largest[match[2]] = max(largest[match[2]], sum(sizes))
    return {kind: (count[kind], largest[kind]) for kind in count}


def wide(tree):
    """Makes float64 of all float32; nothing else of a state changes."""
    return jax.tree.map(lambda a: np.float64(a) if a.dtype == jnp.float32 else a, tree)


def on_host(tree):
    """Fetches a tree; PRNG keys as their data."""
    return [
        np.asarray(jax.random.key_data(a) if jax.dtypes.issubdtype(
            a.dtype, jax.dtypes.prng_key) else a)
        for a in jax.tree.leaves(tree)
    ]  # fmt: skip


def apart(found, wanted):
    """Returns the largest difference of two trees, in units of a leaf's largest."""
    pairs = zip(on_host(found), on_host(wanted), strict=True)
    return max(
        float(np.abs(np.float64(a) - b).max() / max(np.abs(b).max(), 1e-12))
        for a, b in pairs
        if a.size and np.isfinite(np.float64(b)).all()
    )


def first(made):
    """The wide state before the first step."""
    with jax.default_device(placement.chosen()[0]):
        return wide(made.init(jax.random.key(7)))


def run(made, state):
    """Runs a program; returns its last state."""
    return program.run(made, state, SPLITS)[0]


def epoch_text(made, state):
    """The compiled text of an epoch; a run finds the program compiled."""
    state = placement.put(state, made.place, count=made.groups)
    splits = placement.put(SPLITS, count=made.groups)
    args = state, *(jnp.int32(n) for n in (0, 4)), splits
    return made.advance.lower(*args).compile().as_text()


def searching(num_seeds, **more):
    """Two epochs of a gradient search."""
    supernet = networks.supernet(SPACE, SIZE, dtype=jnp.float64)
    return gradient.gradient_search(
        supernet,
        gradient.Pieces(optimizers.momentum_sgd(0.05), optimizers.adam_l2(0.02)),
        augment=AUGMENT,
        num_examples=(32, 16),
        batch_size=8,
        num_epochs=2,
        num_seeds=num_seeds,
        **more,
    )


def watched(num_seeds):
    """A search that is watched, then projected."""
    space = dataclasses.replace(SPACE, num_kept=None)
    method = dataclasses.replace(
        registry.METHODS["darts_pt"](),
        epochs=1, batch_size=8, features=2, layers=1, watch_interval=1,
        projection_epochs=1,
    )  # fmt: skip
    setting = gradient.Setting(
        SIZE, AUGMENT, (32, 16), num_seeds, dtype=jnp.dtype("float64")
    )
    return gradient.build_segments(method, space, setting)


def training(num_seeds):
    """Two epochs of a training from scratch that validates."""
    network = networks.derived(SPACE.genotype(CELLS[4]), SIZE, dtype=jnp.float64)
    return scratch.training(
        network,
        optimizer=optimizers.momentum_sgd(lambda step: 0.05),
        augment=AUGMENT,
        num_examples=32,
        batch_size=8,
        num_epochs=2,
        drop_path_rate=0.0,
        validates=True,
        num_seeds=num_seeds,
    )


SCENES = {}


def scene(function):
    """Registers a scene: () -> JSON."""
    SCENES[function.__name__] = function
    return function


def over_devices(build, *, devices):
    """Runs a program on one device and on more; compares the last states."""
    found = {}
    with placement.over(jax.devices()[:1]):
        made = build()
        alone = run(made, first(made))
    for count in devices:
        with placement.over(jax.devices()[:count]):
            made = build()
            state = first(made)
            sent = collectives(epoch_text(made, state))
            found[count] = {
                "mesh": placement.layout(made.groups),
                "apart": apart(run(made, state), alone),
                "collectives": sent,
            }
    return found


@scene
def search_of_one():
    """One search on 1x1 and 1x4."""
    return over_devices(lambda: searching(None), devices=(4,))


@scene
def search_of_two():
    """Two searches on 1x1, 2x2 and 2x1."""
    return over_devices(lambda: searching(2), devices=(4, 2))


@scene
def train_one():
    """A training on 1x1 and 1x4."""
    return over_devices(lambda: training(None), devices=(4,))


@scene
def train_two():
    """Two trainings on 1x1 and 2x2."""
    return over_devices(lambda: training(2), devices=(4,))


@scene
def watch_and_projection():
    """The evaluations of a watch, and DARTS-PT's projection, on 1x4."""
    found = {}
    for count in (1, 4):
        with placement.over(jax.devices()[:count]):
            before, after = watched(None)
            state = run(before.program, first(before.program))
            seen = jax.device_get(state.inner.hooks[0])
            fresh = wide(after.program.init(jax.random.key(8)))
            carried = wide(after.carry(state, fresh))
            # of the types that an epoch returns, or the second compiles once more
            values = jax.tree.map(
                lambda a, b: np.asarray(a, b.dtype), carried.inner.hooks[0], seen
            )
            kept = (values, *carried.inner.hooks[1:])
            inner = carried.inner._replace(hooks=kept)
            state = run(after.program, carried._replace(inner=inner))
            found[count] = seen.values, on_host(state.inner.mask), state.inner.params
    return {
        "watch": apart(found[4][0], found[1][0]),
        "params": apart(found[4][2], found[1][2]),
        "masks": [np.asarray(found[n][1]).tolist() for n in (1, 4)],
    }


@scene
def augmentation():
    """The images of four devices, and the collectives of making them."""
    pixels, key = images(16, 3)[0], jax.random.key(2)

    def make(key, pixels):
        return augment_lib.augment(key, placement.split(pixels), AUGMENT)

    made = placement.jit(make, out_specs=jax.sharding.PartitionSpec("data"))
    text = made.lower(key, pixels).compile().as_text()
    wanted = augment_lib.augment(key, pixels, AUGMENT)
    return {
        "collectives": collectives(text),
        "equal": bool((np.asarray(made(key, pixels)) == np.asarray(wanted)).all()),
    }


def population(count):
    """Scores of cells trained from scratch, for rounds of so many."""
    objective = objectives.scratch(
        SPACE, SIZE, SPLITS[0], (SPLITS[1],), augment=AUGMENT, num_epochs=1,
        batch_size=8,
    )  # fmt: skip
    score = placement.jit(objective, count=count)
    return np.asarray(score(jax.random.key(1), CELLS[:count]))


@scene
def populations():
    """Members of a population on as many groups of devices as divide them."""
    found = {}
    for members in (6,):
        with placement.over(jax.devices()[:1]):
            wanted = population(members)
        found[members] = {
            "mesh": placement.layout(members),
            "apart": float(np.abs(population(members) - wanted).max()),
        }
    return found


@scene
def one_shot():
    """Scores by shared weights that are arguments, as in the rounds of a search."""
    supernet = networks.one_shot(SPACE, SIZE)
    params = jax.jit(supernet.init)(jax.random.key(0))
    pixels, labels = SPLITS[1]
    x = augment_lib.normalise(pixels, AUGMENT)
    training = augment_lib.normalise(SPLITS[0][0][:20], AUGMENT)

    def score(params, key, encodings, calibration=None):
        objective = objectives.one_shot_accuracy(
            SPACE, supernet, params, x, labels, calibration=calibration
        )
        return jax.lax.fori_loop(
            0, 2, lambda i, total: total + objective(key, encodings), jnp.zeros((6, 1))
        )

    args = params, jax.random.key(1), CELLS
    found = placement.jit(score, count=6)(*args)
    wanted = np.asarray(score(*args))
    # devices that share a batch take other branches than those of another cell
    again = placement.jit(lambda *a: score(*a, training), count=6)(*args)
    own = np.asarray(score(*args, training))
    return {
        "apart": float(np.abs(np.asarray(found) - wanted).max()),
        "recalibrated": float(np.abs(np.asarray(again) - own).max()),
        "moved": float(np.abs(own - wanted).max()),
    }


@scene
def tuning():
    """Eight trials, four side by side, on 4x1."""

    def build():
        network = networks.derived(SPACE.genotype(CELLS[4]), SIZE, dtype=jnp.float64)

        def trainer(numbers):
            return scratch.trainer(
                network,
                optimizer=optimizers.momentum_sgd(lambda step: numbers["rate"]),
                augment=AUGMENT,
                num_epochs=2,
                drop_path_rate=0.0,
            )

        def measure(key, numbers, state, split):
            kept = scratch.trained(state)
            return scratch.evaluate(
                key, network, *kept, *split, augment=AUGMENT, batch_size=8
            )

        return trials.program(
            trials.Tuning(
                trainer,
                measure,
                lambda key: {"rate": jnp.linspace(0.01, 0.2, 8)},
                rungs.halving(8, min_epochs=1, max_epochs=2, eta=2),
                promotion.rank,
                32,
                8,
                4,
            )
        )

    return over_devices(build, devices=(4,))


@scene
def comparisons():
    """Runs of a controller, divided."""
    found = []
    for count in (1, 4):
        with placement.over(jax.devices()[:count]):
            controller = controllers.random_search(SPACE.sizes)
            played = comparison.play(
                controller,
                lambda key, encodings: jnp.float32(encodings[:, :1]),
                num_runs=4,
                num_evaluations=6,
                seed=0,
            )
            found.append(played.encodings.tolist())
    return {"equal": found[0] == found[1], "runs": len(found[0])}


@scene
def norms_of_devices():
    """``norm_group="device"`` against one device that normalises images apart."""
    from jnas.ops import norm

    x = np.random.default_rng(0).normal(size=(8, 3, 3, 2))
    x += np.arange(8)[:, None, None, None]
    running = functools.partial(norm.RunningNorm, epsilon=1e-5, momentum=0.9)

    def apply(x):
        from flax import nnx

        module = running(2, rngs=nnx.Rngs(0))
        x = placement.split(x)
        y = module(x)
        moments = module.mean[...], module.var[...]
        return norm.standardise(x), y, *moments

    with placement.over(norm_group="device"):
        gradient_of = placement.jit(
            jax.grad(lambda x: (jnp.sin(apply(x)[0]) ** 2).sum())
        )
        found = [np.asarray(a) for a in placement.jit(apply)(x)]
        slope = np.asarray(gradient_of(x))
        layout = placement.layout()

    def alone(x):
        flat = x.reshape(-1, 2)
        mean, var = flat.mean(0), flat.var(0)
        return (x - mean) / np.sqrt(var + 1e-5), mean, flat.var(0, ddof=1)

    groups = [alone(x[2 * i : 2 * i + 2]) for i in range(4)]
    wanted = np.concatenate([g[0] for g in groups])
    mean, var = (np.mean([g[i] for g in groups], 0) for i in (1, 2))

    def loss(x):
        parts = [alone(x[2 * i : 2 * i + 2])[0] for i in range(4)]
        return (np.sin(np.concatenate(parts)) ** 2).sum()

    step, place = 1e-6, (3, 1, 2, 1)
    up, down = x.copy(), x.copy()
    up[place] += step
    down[place] -= step
    return {
        "layout": layout,
        "standardised": float(np.abs(found[0] - wanted).max()),
        "running": float(np.abs(found[1] - wanted).max()),
        "moments": [
            float(np.abs(found[2] - 0.1 * mean).max()),
            float(np.abs(found[3] - (0.9 + 0.1 * var)).max()),
        ],
        "slope": float(abs(slope[place] - (loss(up) - loss(down)) / (2 * step))),
    }


@scene
def refused():
    """Batches that four devices cannot split; three seeds leave one group."""
    lines = []
    for seeds, batch in ((None, 6), (2, 7), (4, 7)):
        try:
            placement.check_batch(batch, seeds)
            lines.append("")
        except ValueError as error:
            lines.append(str(error))
    return lines


def main():
    """Plays all scenes, or those that are named."""
    asked = sys.argv[1:]
    if "gpu" in asked:
        use_forms_of_gpu()
    names = [name for name in asked if name != "gpu"] or list(SCENES)
    print(json.dumps({name: SCENES[name]() for name in names}))


if __name__ == "__main__":
    main()
