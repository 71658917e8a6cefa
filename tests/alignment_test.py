"""Tests of Lambda-DARTS: its exact regularizer against the authors' differences."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jnas import data, gradient, networks, registry, spaces
from jnas.gradient import losses, relaxations, weight_regularizers
from jnas.gradient.weight_regularizers import alignment
from jnas.training import program

TWO = spaces.CellSpace(
    "two", ("normal", "reduce"), 2, 1, ("none", "skip_connect", "nor_conv_1x1"), 2, (2,)
)
ONE = spaces.CellSpace(
    "one", ("cell",), 1, 1, ("none", "skip_connect", "nor_conv_1x1"), None, (1,)
)
RADII = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5)


def problem_of(space, layers):
    """A supernet's losses, eleven epochs."""
    net = networks.supernet(space, networks.Size(2, layers, 2, channels=1))
    losses_of = functools.partial(losses.build_losses, relaxation=relaxations.softmax)
    return weight_regularizers.Problem(
        net, relaxations.softmax, *losses_of(net), 11, losses_of=losses_of
    )


@functools.cache
def setting():
    """Four cells, of which the middle two are reductions, in float64."""
    problem = problem_of(TWO, 4)
    assert problem.supernet.inside.kinds == (0, 1, 1, 0)
    params = jax.jit(problem.supernet.init)(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    images = jax.random.normal(jax.random.key(2), (4, 4, 4, 1), jnp.float64)
    labels = jnp.arange(4) % 2
    logits = jax.random.normal(jax.random.key(3), TWO.shape, jnp.float64)
    return problem, params, logits, images, labels


@functools.cache
def found(epoch):
    """What the rule of strength 1/2 adds to a gradient of zeros, as one vector."""
    problem, params, logits, images, labels = setting()
    batch = losses.Batch(images, labels, jnp.float64(0))
    clock = program.Clock(jnp.int32(epoch), jnp.float32(0))
    zeros = jax.tree.map(jnp.zeros_like, params)
    got, moves, carry = compiled_rule()(
        jax.random.key(0), clock, params, logits, zeros, batch, None, ()
    )
    assert moves is None and carry == ()
    return np.asarray(ravel_pytree(got)[0])


@functools.cache
def compiled_rule():
    """The rule, compiled once."""
    return jax.jit(alignment.alignment(setting()[0], strength=0.5).call)


@functools.cache
def plain():
    """Gradients of a cross-entropy written out, in the params and in each cell."""
    problem, _, _, images, labels = setting()

    def loss(params, layers):
        outputs = problem.supernet.inside.apply(params, images, layers)
        return -(jax.nn.log_softmax(outputs)[jnp.arange(4), labels]).mean()

    return jax.jit(jax.grad(loss)), jax.jit(jax.grad(loss, 1))


def layers_of(logits):
    """Softmax of the logits of each cell's kind."""
    kinds = np.array(setting()[0].supernet.inside.kinds)
    return np.asarray(jax.nn.softmax(logits, -1))[kinds], kinds


def authors_directions(grads, kinds):
    """Projections as matrices, of the normal cells alone, as their code has them."""
    found = np.zeros_like(grads)
    cells = [number for number, kind in enumerate(kinds) if kind == 0]
    own = {n: grads[n].ravel() for n in cells}
    units = {n: g / np.linalg.norm(g) for n, g in own.items()}
    share = 1 / (len(cells) * (len(cells) - 1) / 2)
    for n in cells:
        matrix = np.eye(own[n].size) - np.outer(units[n], units[n])
        moved = matrix / np.linalg.norm(own[n]) @ sum(units.values())
        found[n] = share * moved.reshape(grads[n].shape)
    return found


def test_the_authors_differences_converge_to_it():
    """Quadratically: two gradients at -+ r p / |p|, for five radii r, in float64.

    The error of a central difference is c r^2, so the ratio of two errors is that of
    the radii squared, here to 5 %. At 3e-5 it is 1e-8 of the norm, and rounding of
    gradients, 1e-16 / r, is far below.
    """
    with jax.enable_x64(True):
        _, params, logits, _, _ = setting()
        exact = 2 * found(10)  # of strength 1/2, in the last epoch
        d_params, d_layers = plain()
        layers, kinds = layers_of(logits)
        direction = authors_directions(np.asarray(d_layers(params, layers)), kinds)
        errors = []
        for radius in RADII:
            step = radius / np.linalg.norm(direction)
            forward, backward = (
                ravel_pytree(d_params(params, layers + sign * step * direction))[0]
                for sign in (-1, 1)
            )
            theirs = np.asarray(forward - backward) / (2 * step)
            off = np.linalg.norm(theirs - exact) / np.linalg.norm(exact)
            errors.append(off)
            print(f"{radius:.0e} {off:.2e}")
        assert errors[-1] < 1e-7
        for (r, e), (s, f) in zip(
            zip(RADII, errors, strict=True),
            list(zip(RADII, errors, strict=True))[1:],
            strict=False,
        ):
            np.testing.assert_allclose(e / f, (r / s) ** 2, rtol=0.05)


def test_it_is_the_gradient_of_the_alignment():
    """Against central differences of Lambda(w) along random directions of w."""
    with jax.enable_x64(True):
        _, params, logits, _, _ = setting()
        _, d_layers = plain()
        layers, kinds = layers_of(logits)
        vector, back = ravel_pytree(params)

        def aligned(vector):
            grads = np.asarray(d_layers(back(vector), layers))[kinds == 0]
            grads = grads.reshape(len(grads), -1)
            cosines = [
                a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                for i, a in enumerate(grads) for b in grads[:i]
            ]  # fmt: skip
            return np.mean(cosines)

        rng = np.random.default_rng(0)
        for _ in range(4):
            along = rng.normal(size=vector.shape)
            ends = (aligned(vector + sign * 1e-6 * along) for sign in (1, -1))
            slope = np.subtract(*ends) / 2e-6
            # the loss gets -Lambda: descent increases it
            np.testing.assert_allclose(-2 * found(10) @ along, slope, rtol=1e-5)
        better = vector - 1e-5 * found(10) / np.linalg.norm(found(10))
        assert aligned(better) > aligned(vector)


def test_its_strength_rises_with_the_epochs():
    """Strength e / (E - 1), and E is eleven; the share of epochs is float32."""
    with jax.enable_x64(True):
        assert not found(0).any()
        np.testing.assert_allclose(found(3), 0.3 * found(10), rtol=1e-7)


def test_the_score_is_a_mean_over_pairs():
    """Of each kind by loops; zeros have cosine 0 and a finite gradient."""
    rng = np.random.default_rng(1)
    grads = rng.normal(size=(6, 2, 3)).astype(np.float32)
    groups = [np.array([0, 2, 5]), np.array([1, 4])]

    def cosine(a, b):
        a, b = a.ravel(), b.ravel()
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    want = sum(
        np.mean([cosine(grads[i], grads[j]) for i in g for j in g if i < j])
        for g in groups
    )
    np.testing.assert_allclose(alignment.score(grads, groups), want, rtol=1e-5)
    np.testing.assert_allclose(
        alignment.score(grads, groups[:1]), want - cosine(grads[1], grads[4]), rtol=1e-4
    )
    still = jnp.asarray(grads).at[0].set(0)
    value, slopes = jax.value_and_grad(alignment.score)(still, groups[:1])
    np.testing.assert_allclose(value, cosine(grads[2], grads[5]) / 3, rtol=1e-5)
    assert np.isfinite(slopes).all() and not slopes[0].any()


def test_removed_options_do_not_count():
    """A masked option has no share in the gradient of any cell."""
    problem = problem_of(ONE, 1)
    params = jax.jit(problem.supernet.init)(jax.random.key(0))
    mask = jnp.ones(ONE.shape, bool).at[0, 0, 1].set(False)
    batch = losses.Batch(
        jax.random.normal(jax.random.key(2), (4, 4, 4, 1)), jnp.arange(4) % 2,
        jnp.float32(0), mask,
    )  # fmt: skip
    slopes = jax.jit(jax.grad(alignment.shifted_loss(problem), 1))(
        params, jnp.zeros((3, 1, 3)), jax.random.key(0), jnp.zeros(ONE.shape), batch
    )
    assert not slopes[:, 0, 1].any() and slopes[:, 0, 2].all()


def test_a_kind_with_one_cell_is_left_out():
    """DARTS' cell alone has nothing to align with."""
    problem = problem_of(dataclasses.replace(TWO, cells=("cell",)), 1)
    params = jax.jit(problem.supernet.init)(jax.random.key(0))
    rule = alignment.alignment(problem)
    ones = jax.tree.map(jnp.ones_like, params)
    got, _, _ = rule.call(None, None, params, None, ones, None, None, ())
    jax.tree.map(np.testing.assert_array_equal, got, ones)


def test_what_cannot_be_aligned_is_refused():
    """A chain, and no kinds."""
    net = networks.supernet(spaces.zoo_chains.tiny_chain(), networks.Size(8, 1, 3))
    problem = weight_regularizers.Problem(net, None, None, None, 3)
    with pytest.raises(ValueError, match="alignment out for space tiny_chain"):
        alignment.alignment(problem)
    with pytest.raises(ValueError, match="leave alignment out for space tiny_chain"):
        gradient.check(registry.METHODS["lambda_darts"](), net.space)
    with pytest.raises(ValueError, match="kinds must be at least 1, got 0"):
        alignment.alignment(problem_of(ONE, 1), kinds=0)


def run(name, **changes):
    """Two epochs of two steps on three cells; the params after each epoch."""
    small = {"epochs": 2, "batch_size": 4, "features": 2, "layers": 1, "hooks": ()}
    method = dataclasses.replace(registry.METHODS[name](), **small | changes)
    gradient.check(method, ONE)
    setting = gradient.Setting(
        networks.Size(2, 1, 2, channels=1), data.Augment((0.5,), (0.3,)), (8, 8)
    )
    (segment,) = gradient.build_segments(method, ONE, setting)
    splits = tuple(
        (jax.random.uniform(jax.random.key(i), (8, 4, 4, 1)), jnp.arange(8) % 2)
        for i in range(2)
    )
    seen = []

    def observe(step, state, metrics, epoch_ended):
        if epoch_ended:
            seen.append(np.asarray(ravel_pytree(state.inner.params)[0]))

    state = segment.program.init(jax.random.key(0))
    program.run(segment.program, state, splits, observe=observe)
    return seen


def test_a_search_is_darts_in_its_first_epoch_alone():
    """Strength 0 in epoch 0; then the parameters differ, and are finite."""
    ours, darts = run("lambda_darts"), run("darts", order="params_first")
    np.testing.assert_array_equal(ours[0], darts[0])
    assert np.isfinite(ours[1]).all()
    assert np.abs(ours[1] - darts[1]).max() > 1e-5


def test_the_row_has_its_programs_numbers():
    """100 epochs of 16 features, 5 cells a stage; parameters first."""
    row = registry.METHODS["lambda_darts"]()
    assert (row.epochs, row.features, row.layers, row.batch_size) == (100, 16, 5, 64)
    assert row.order == "params_first" and row.weight_regularizers == ("alignment",)
    assert row.logits_learning_rate == 3e-4 and row.hypergradient == "first_order"
