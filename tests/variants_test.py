"""Tests of how a mixture combines its candidates, against one edge after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import networks, ops, spaces
from jnas.networks import functional
from jnas.networks import mixture as mixture_lib
from jnas.training import program

FEATURES = 8
TINY = spaces.zoo.tiny()
EDGES = tuple(
    mixture_lib.Edge(i, *edge, TINY.candidates_of(0, i))
    for i, edge in enumerate(TINY.edges)
)


def shuffle(x, groups):
    """Channel shuffle as the paper writes it: groups x width to width x groups."""
    *lead, features = x.shape
    split = x.reshape(*lead, groups, features // groups)
    return split.swapaxes(-1, -2).reshape(x.shape)


def halve(x):
    """2x2 max-pooling, written over the four corners of each window."""
    return jnp.maximum(
        jnp.maximum(x[:, ::2, ::2], x[:, 1::2, ::2]),
        jnp.maximum(x[:, ::2, 1::2], x[:, 1::2, 1::2]),
    )


def one_by_one(mixture, params, inputs, weights, *, stride, partial=1, factor=None):
    """Computes a mixture edge by edge, candidate by candidate."""
    states = [*inputs, *[0] * TINY.num_nodes]
    for index, source, target, names in EDGES:
        step = stride if source < TINY.num_inputs else 1
        width = FEATURES // partial
        x, rest = states[source][..., :width], states[source][..., width:]

        def run(name, x=x, step=step, source=source, target=target, width=width):
            base = "skip_connect" if name == mixture_lib.AUXILIARY else name
            op = functional.operation(
                base, width, step, norm=ops.SEARCH, normalise=True
            )
            own = mixture_lib.edge_params(mixture, params, source, target, name)
            return op.apply(own, {}, x)[0]

        y = sum(weights[index, o] * run(n) for o, n in enumerate(names) if n != "none")
        if factor is not None:
            y = y + factor * run(mixture_lib.AUXILIARY)
        if partial > 1:
            rest = halve(rest) if step == 2 else rest
            y = jnp.concatenate([y, weights[index].sum() * rest], -1)
            y = shuffle(y, partial)
        states[target] = states[target] + y
    return jnp.stack(states[TINY.num_inputs :])


def build(variant, stride):
    """Makes a mixture of the tiny space, its parameters, inputs and weights."""
    mixture = mixture_lib.mixture(
        EDGES,
        num_inputs=2,
        num_nodes=2,
        features=FEATURES,
        stride=stride,
        norm=ops.SEARCH,
        normalise=True,
        variant=variant,
    )
    keys = jax.random.split(jax.random.key(3), 3)
    params = program.once(mixture.init)(keys[0])
    inputs = jax.random.normal(keys[1], (2, 3, 4, 4, FEATURES))
    weights = jax.nn.softmax(jax.random.normal(keys[2], (len(EDGES), 4)), -1)
    return mixture, params, inputs, weights


@pytest.mark.parametrize(
    ("variant", "factor", "stride"),
    [
        (mixture_lib.EdgeVariant(partial=2), None, 1),
        (mixture_lib.EdgeVariant(partial=4), None, 2),
        (mixture_lib.EdgeVariant(auxiliary_skip=True), 0.3, 2),
        (mixture_lib.EdgeVariant(partial=2, auxiliary_skip=True), 0.3, 1),
    ],
)
def test_variants_are_what_their_papers_write(variant, factor, stride):
    """Values and all gradients equal those of the edges one by one, in float64."""
    with jax.enable_x64(True):
        mixture, params, inputs, weights = build(variant, stride)
        # norms divide by small numbers on 2x2 pixels: float64 tells errors from noise
        params, inputs, weights = jax.tree.map(
            lambda a: a.astype(jnp.float64), (params, inputs, weights)
        )
        given = mixture_lib.VariantInputs(auxiliary_skip=factor)

        def ours(params, inputs, weights):
            return mixture.apply(params, inputs, weights, None, given)

        def theirs(params, inputs, weights):
            return one_by_one(
                mixture,
                params,
                inputs,
                weights,
                stride=stride,
                partial=variant.partial,
                factor=factor,
            )

        def value_and_gradients(function):
            def loss(*args):
                nodes = function(*args)
                return (
                    jnp.sin(nodes) * jnp.arange(nodes.size).reshape(nodes.shape)
                ).sum()

            return jax.jit(lambda *a: (function(*a), jax.grad(loss, (0, 1, 2))(*a)))

        args = params, inputs, weights
        (nodes, grads), (want, want_grads) = (
            value_and_gradients(f)(*args) for f in (ours, theirs)
        )
        np.testing.assert_allclose(nodes, want, atol=1e-10)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7),
            grads,
            want_grads,
        )


def test_zeros_are_left_out_and_their_weights_are_numbers():
    """One-hot rows give the plain values; a zero weight's gradient is the sum above.

    GDAS adds the weights that its sample left out to the edge as bare numbers.
    """
    plain, params, inputs, _ = build(mixture_lib.PLAIN, 1)
    sparse, *_ = build(mixture_lib.EdgeVariant(skip_zeros=True), 1)
    chosen = jnp.array([3, 1, 2, 0, 3])
    weights = jax.nn.one_hot(chosen, 4)

    def loss(weights, mixture):
        nodes = mixture.apply(params, inputs, weights)
        return (nodes[1] ** 3).sum(), nodes

    (value, nodes), got = jax.jit(
        jax.value_and_grad(lambda w: loss(w, sparse), has_aux=True)
    )(weights)
    (want, _), true = jax.jit(
        jax.value_and_grad(lambda w: loss(w, plain), has_aux=True)
    )(weights)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    into_last = np.array([e.target == 3 for e in EDGES])
    number = (3 * nodes[1] ** 2).sum()
    for edge in np.flatnonzero(into_last):
        expected = np.full(4, number)
        # a drawn candidate's gradient is the true one
        expected[chosen[edge]] = true[edge, chosen[edge]]
        np.testing.assert_allclose(got[edge], expected, rtol=1e-3)


def test_dropout_falls_on_identities_alone():
    """Rate 0 changes nothing; at any rate the mean is kept and half of values go."""
    variant = mixture_lib.EdgeVariant(skip_dropout=True)
    mixture, params, inputs, weights = build(variant, 1)
    plain, *_ = build(mixture_lib.PLAIN, 1)

    def run(rate, key):
        given = mixture_lib.VariantInputs(skip_dropout=jnp.float32(rate))
        return mixture.apply(params, inputs, weights, key, given)

    keys = jax.random.split(jax.random.key(0), 400)
    want = jax.jit(plain.apply)(params, inputs, weights)
    np.testing.assert_allclose(jax.jit(run)(0.0, keys[0]), want, atol=1e-5)
    # the first node only: later ones normalise what they read
    drawn = jax.jit(jax.vmap(lambda key: run(0.5, key)[0]))(keys)
    skips = [weights[i, 2] * inputs[i] for i in range(2)]
    rest = want[0] - sum(skips)
    spread = np.sqrt(sum(s**2 for s in skips) / len(keys))
    np.testing.assert_array_less(np.abs(drawn.mean(0) - want[0]), 6 * spread + 1e-5)
    # each draw is the rest plus twice some of the skips
    ways = [rest + 2 * (a * skips[0] + b * skips[1]) for a in (0, 1) for b in (0, 1)]
    nearest = np.min([np.abs(drawn - way) for way in ways], 0)
    assert nearest.max() < 1e-4


def test_drop_path_falls_on_the_sum_of_an_edge():
    """Each image's edge, all candidates of it, is there twice or not at all."""
    variant = mixture_lib.EdgeVariant(drop_path=True)
    mixture, params, inputs, weights = build(variant, 1)
    plain, *_ = build(mixture_lib.PLAIN, 1)

    def run(rate, key):
        given = mixture_lib.VariantInputs(drop_path=rate)
        return mixture.apply(params, inputs, weights, key, given)[0]

    keys = jax.random.split(jax.random.key(0), 200)
    alone = [
        jax.jit(plain.apply)(params, inputs, weights.at[other].set(0))[0]
        for other in (1, 0)
    ]
    # no rate, as in an evaluation, and a rate of 0 change nothing
    for rate in (None, 0.0):
        np.testing.assert_allclose(
            jax.jit(run, static_argnums=0)(rate, keys[0]), sum(alone), atol=1e-4
        )
    drawn = jax.jit(jax.vmap(lambda key: run(0.5, key)))(keys)
    ways = [2 * (a * alone[0] + b * alone[1]) for a in (0, 1) for b in (0, 1)]
    # for each image one of the four ways, whole; all four occur, about equally often
    gaps = np.stack([np.abs(drawn - way).max((2, 3, 4)) for way in ways])
    assert gaps.min(0).max() < 1e-3
    counts = np.bincount(gaps.argmin(0).ravel(), minlength=4)
    assert (np.abs(counts - 150) < 6 * 150**0.5).all(), counts
    with pytest.raises(ValueError, match="drop_path must be left out with partial"):
        mixture_lib.EdgeVariant(drop_path=True, partial=2)


def test_the_supernet_of_pc_darts_has_its_published_size():
    """299,578 parameters: 16 features, 8 layers, k = 4."""
    shape = networks.Size(16, 8, 10)
    net = networks.supernet(
        spaces.zoo.darts(), shape, variant=networks.EdgeVariant(partial=4)
    )
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert networks.count_params(params) == 299_578


def test_a_whole_supernet_takes_every_form():
    """All at once, in a network with reductions, under jit; variants are checked."""
    variant = networks.EdgeVariant(
        partial=2, auxiliary_skip=True, skip_dropout=True, skip_zeros=True
    )
    net = networks.supernet(TINY, networks.Size(4, 3, 3, channels=1), variant=variant)
    params = program.once(net.init)(jax.random.key(0))
    weights = jax.nn.one_hot(jnp.arange(10).reshape(2, 5) % 4, 4)
    given = networks.VariantInputs(jnp.float32(0.5), jnp.float32(0.2))
    outputs = jax.jit(net.apply)(
        params,
        jnp.ones((2, 8, 8, 1)),
        weights,
        key=jax.random.key(1),
        variant_inputs=given,
    )
    assert outputs.shape == (2, 3) and bool(jnp.isfinite(outputs).all())
    with pytest.raises(ValueError, match="partial must be at least 1, got 0"):
        networks.EdgeVariant(partial=0)
    with pytest.raises(ValueError, match="features must be a multiple of partial=3"):
        networks.supernet(
            TINY, networks.Size(4, 3, 3), variant=networks.EdgeVariant(partial=3)
        )
