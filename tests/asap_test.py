"""Tests of ASAP: the temperature, and pruning by the weights that it gives."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, pieces, registry, spaces
from jnas.gradient import hooks, methods, mixing, relaxations
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import prune
from jnas.training import program

MINI = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)
PLAIN = data.Augment((0.5,), (0.3,))


def softmax(x):
    """Computes softmax over the last axis in NumPy's float64."""
    e = np.exp(np.asarray(x, np.float64) - np.max(x, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_the_softmax_cools_by_a_factor_an_epoch():
    """1.6 * 0.95^e in epoch e of 50, to the four digits of the temperature's end."""
    logits = jnp.array([[0.3, -0.2, 1.0]])
    row = methods.asap()
    follow = registry.PROGRESS[row.progress]
    for epoch in (0, 1, 10, 25, 49):
        clock = program.Clock(jnp.int32(epoch), jnp.float32(0.5))
        got = relaxations.annealed_softmax(None, logits, follow(clock, row.epochs))
        want = softmax(np.asarray(logits) / (1.6 * 0.95**epoch))
        np.testing.assert_allclose(got, want, rtol=3e-3)
    # the logits wait for the temperatures of 1 and above
    waits = sum(1.6 * 0.95**epoch >= 1 for epoch in range(50))
    assert waits == round(row.frozen_rate * row.epochs) == 10


def test_its_gradient_is_the_softmaxes_over_the_temperature():
    """(diag p - p p') / t, in the middle of a search: t = sqrt(start end)."""
    logits, t = jnp.array([0.3, -0.2, 1.0]), np.sqrt(2.0 * 0.5)
    relax = functools.partial(relaxations.annealed_softmax, start=2.0, end=0.5)
    got = jax.jacobian(lambda a: relax(None, a, 0.5))(logits)
    p = softmax(np.asarray(logits) / t)
    np.testing.assert_allclose(got, (np.diag(p) - np.outer(p, p)) / t, atol=1e-6)


def prune_once(epoch, logits, mask, **numbers):
    """What is left of MINI after a call at the end of an epoch of 50."""
    search = hooks.Search(
        networks.Supernet(None, None, MINI),
        mixing.build_weights_of(MINI, relaxations.annealed_softmax),
        spaces.CellSpace.strongest,
        PLAIN,
        4,
        50,
        progress=lambda clock: clock.epoch / 50,
    )
    hook = prune.prune(search, every=1, **numbers)
    state = gradient.GradientState((), logits, (), (), mask)
    state = state._replace(hooks=hook_lib.begin((hook,), state))
    clock = program.Clock(jnp.int32(epoch), jnp.float32(0))
    end = hook_lib.at_epoch_end((hook,))
    after, _ = end(jax.random.key(0), clock, state, (None, None))
    return after.mask


@pytest.mark.parametrize("epoch", [0, 20, 49])
def test_options_go_by_the_weights_of_their_epoch(epoch):
    """Below 0.4 / K of softmax(logits / t): plain loops over rows, at three t."""
    logits = np.array([[[0.0, 0.6, 1.0], [0.0, 0.1, 0.2], [0.0, 1.4, 2.0]]])
    mask = np.ones(MINI.shape, bool)
    mask[0, 2, 1] = False
    got = prune_once(epoch, jnp.asarray(logits, jnp.float32), jnp.asarray(mask))
    want = mask.copy()
    for edge in range(3):
        left = np.flatnonzero(mask[0, edge])
        p = softmax(logits[0, edge, left] / (1.6 * 0.95**epoch))
        for option, share in zip(left, p, strict=True):
            want[0, edge, option] = share >= 0.4 / len(left) or share == p.max()
    np.testing.assert_array_equal(got, want)
    # the same logits at another temperature: of 8 options fewer stay
    assert want.sum() == {0: 8, 20: 6, 49: 4}[epoch]


def test_the_row_has_the_numbers_of_its_source():
    """UniNAS' configuration: 50 epochs, batches of 64, clipping of both gradients."""
    row = methods.asap()
    assert (row.epochs, row.batch_size, row.hypergradient) == (50, 64, "first_order")
    assert (row.clip_norm, row.logits_clip_norm) == (5.0, 5.0)
    assert row.relaxation == row.eval_relaxation == "annealed_softmax"
    assert pieces.options(relaxations.annealed_softmax)["start"] == 1.6
    described = pieces.describe(registry.HOOKS, row.hooks[1])
    assert described == {"name": "prune", "every": 1, "threshold": 0.4}


def test_a_search_prunes_at_the_temperature_of_its_epochs():
    """The program hands its progress to the hook: cold epochs remove, warm ones not."""
    method = dataclasses.replace(
        methods.asap(), epochs=4, batch_size=4, features=4, layers=1, watch_interval=0,
        logits_scale=0.0, logits_learning_rate=0.0, logits_weight_decay=0.0,
        hooks=(pieces.bind(registry.HOOKS, "prune", {"every": 1}),),
    )  # fmt: skip
    setting = gradient.Setting(networks.Size(4, 1, 2, channels=1), PLAIN, (8, 8))
    (segment,) = gradient.build_segments(method, MINI, setting)
    split = jax.random.uniform(jax.random.key(0), (8, 4, 4, 1)), jnp.arange(8) % 2
    state = segment.program.init(jax.random.key(1))
    logits = jnp.zeros(MINI.shape).at[..., 2].set(0.5)
    state = state._replace(inner=state.inner._replace(logits=logits))
    counts = []

    def observe(step, state, metrics, epoch_ended):
        if epoch_ended:
            counts.append(float(metrics["options_left"]))

    program.run(segment.program, state, (split, split), observe=observe)
    want = []
    for epoch in range(4):
        t = 1.6 * (0.1231 / 1.6) ** (epoch / 4)
        p = softmax(np.array([0.0, 0.0, 0.5]) / t)
        want.append(3.0 * (1 + 2 * (p[0] >= 0.4 / 3)))
    assert counts == want and len(set(want)) == 2
