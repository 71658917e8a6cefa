"""A hook that compares a supernet's ranking with a table, epoch by epoch.

    python experiments/search.py --workdir=runs/ranks --space=nasbench201 \
        --method=darts --data=digits --epochs=25 --batch_size=32 --features=8 \
        --layers=1 --logits_learning_rate=0.009 \
        --plugins=experiments/plugins/ranks.py --hooks=watch,ranks

Each epoch's line of metrics.jsonl then has Kendall's tau between a table's metric of
random cells and: ``tau_weights``, the product of a cell's weights, which a cell is
derived by; ``tau_shared``, the accuracy of the cell alone with the supernet's
parameters; ``tau_none`` and so on, minus the number of edges with an operation, so that
0.3 at ``tau_nor_conv_3x3`` says that cells with many of them are worse. ``pull_none``
and so on are the gradient of the validation loss in the operation's logit, mean over
edges: a negative one is raised. The numbers are set by --options=hook.ranks.table=...
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jnas import registry
from jnas.discrete.tables import choice
from jnas.gradient import hooks
from jnas.gradient.hooks import signal as signal_lib
from jnas.spaces import rows


def kendall(left, right):
    """Returns Kendall's tau of f32[N] and f32[N], without a correction for ties."""
    signs = jnp.sign(left[:, None] - left) * jnp.sign(right[:, None] - right)
    return signs.sum() / (len(left) * (len(left) - 1))


def likelihood(weights, one_hot):
    """Returns f32[N], the logarithm of the product of N cells' weights."""
    logs = jax.tree.map(lambda x: jnp.log(jnp.maximum(x, 1e-30)), weights)
    return totals(jax.tree.map(jnp.multiply, one_hot, logs))


def totals(tree):
    """Returns f32[N], the sums over all leaves [N, ...]."""
    return sum(leaf.reshape(len(leaf), -1).sum(-1) for leaf in jax.tree.leaves(tree))


def pull(slope, where):
    """Returns f32[], the mean of a gradient where an operation is."""
    here = jax.tree.leaves(jax.tree.map(lambda g, own: (g * own).sum(), slope, where))
    return sum(here) / sum(own.sum() for own in jax.tree.leaves(where))


@registry.HOOKS.register
def ranks(
    search,
    *,
    every: int = 1,
    table: str = "table:digits201",
    metric: str = "test_12",
    num_cells: int = 200,
    num_batches: int = 4,
):
    """Builds the hook; ``table`` is as --objective names it."""
    space, truth = search.space, choice.load_table(table)
    column = np.asarray(truth.column(metric), np.float64)
    known = np.flatnonzero(np.isfinite(column))
    drawn = np.random.default_rng(0).permutation(known)[:num_cells]
    cells, values = jnp.asarray(truth.cells(drawn)), jnp.float32(column[drawn])
    one_hot = jax.vmap(space.weights)(cells)
    options = rows.options(space)
    where = {name: rows.where(space, name) for name in options}
    counts = {
        name: totals(jax.tree.map(jnp.multiply, one_hot, own))
        for name, own in where.items()
    }

    def call(key, clock, state, carry, split):
        batches = signal_lib.fixed_batches(
            split, search.augment, search.batch_size, num_batches
        )
        inputs = signal_lib.without_dropout(search.variant_inputs(clock))
        alone = signal_lib.without_auxiliary_skip(inputs)
        apply = functools.partial(search.supernet.apply, state.params)
        shared = jax.lax.map(
            lambda one: signal_lib.signal(key, search.task, apply, batches, one, alone),
            one_hot,
        )

        def loss(logits, batch):
            weights = search.weights_of(state._replace(logits=logits))
            outputs = apply(batch[0], weights, key=key, variant_inputs=inputs)
            return search.task.loss(outputs, batch[1]).mean()

        of_each = jax.lax.map(lambda one: jax.grad(loss)(state.logits, one), batches)
        slope = jax.tree.map(lambda one: one.mean(0), of_each)
        slope = getattr(slope, "operations", slope)  # of a method with edge weights
        own = likelihood(search.weights_of(state), one_hot)
        found = {
            "tau_weights": kendall(own, values),
            "tau_shared": kendall(shared, values),
            "shared_mean": shared.mean(),
            "shared_best": shared.max(),
        }
        for name in options:
            found[f"tau_{name}"] = kendall(-counts[name], values)
            found[f"pull_{name}"] = pull(slope, where[name])
        return state, carry, found, False

    names = ("tau_weights", "tau_shared", "shared_mean", "shared_best")
    names += tuple(f"{kind}_{n}" for n in options for kind in ("tau", "pull"))
    return hooks.Hook(every, lambda state: (), call, names, rows=np.arange)
