"""Tests of what mixes the candidates, and of the two losses, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import gradient, networks, registry, types
from jnas import spaces as spaces_lib
from jnas.gradient import mixing, perturbations, relaxations
from jnas.training import program

TINY = spaces_lib.zoo.tiny()
SPACES = {"darts": spaces_lib.zoo.darts(), "nasbench201": spaces_lib.zoo.nasbench201()}
MINI = spaces_lib.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)
OUT = 1, 2  # cell and edge that a mask leaves nothing
PROGRESS = jnp.float32(0.5)


def normal(seed, shape, dtype=np.float64):
    """Draws standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def softmax_row(logits):
    """Softmax of a list of numbers, as its formula says."""
    powers = np.exp(np.asarray(logits) - max(logits))
    return powers / powers.sum()


def loop_of_edges(space, edges):
    """Softmax over the edges that enter each node: cell after cell, node after node."""
    weights = np.zeros(space.shape[:2])
    for cell in range(len(space.cells)):
        for node in {target for _, target in space.edges}:
            own = [e for e, (_, target) in enumerate(space.edges) if target == node]
            weights[cell, own] = softmax_row(edges[cell, own])
    return weights


def loop_of_rows(logits, mask):
    """Softmax over the candidates that are in; zeros where none is."""
    weights = np.zeros(logits.shape)
    for cell, edge in np.ndindex(*logits.shape[:2]):
        inside = np.flatnonzero(mask[cell, edge])
        if len(inside):
            weights[cell, edge, inside] = softmax_row(logits[cell, edge, inside])
    return weights


def a_mask(space=TINY):
    """One candidate out of each edge, all of OUT's, all but the last of another's."""
    mask = np.ones(space.shape, bool)
    mask[..., 1] = False
    mask[0, 0, :-1] = False
    mask[OUT] = False
    return mask


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("scale", [1, 200])
def test_edges_are_weighed_node_by_node(name, scale):
    """The softmax of each node; float32 to 1e-5, at logits that exp alone overflows."""
    space = SPACES[name]
    edges = scale * normal(0, space.shape[:2])
    got = jax.jit(lambda a: mixing.edge_weights(space, a))(jnp.float32(edges))
    np.testing.assert_allclose(got, loop_of_edges(space, edges), rtol=3e-4, atol=1e-6)
    nodes = space.num_nodes * len(space.cells)
    np.testing.assert_allclose(got.sum(), nodes, rtol=1e-5)


def test_edge_weights_are_differentiated_node_by_node():
    """Their Jacobian is b (1 - b) and -b b' inside a node, 0 between nodes."""
    edges = normal(1, TINY.shape[:2])
    weights = loop_of_edges(TINY, edges)
    jacobian = jax.jacobian(lambda a: mixing.edge_weights(TINY, a))(jnp.float32(edges))
    for c, e in np.ndindex(*edges.shape):
        for d, f in np.ndindex(*edges.shape):
            rivals = c == d and TINY.edges[e][1] == TINY.edges[f][1]
            want = weights[c, e] * ((e == f) - weights[d, f]) if rivals else 0
            # float32: differences of numbers up to 1
            np.testing.assert_allclose(jacobian[c, e, d, f], want, atol=1e-6)


def test_outer_variables_are_split():
    """Bare logits have no edges, and ArchParams both."""
    logits, edges = jnp.zeros(TINY.shape), jnp.ones(TINY.shape[:2])
    assert mixing.split(logits) == (logits, None)
    assert mixing.split(types.ArchParams(logits, edges)) == (logits, edges)


def test_a_mask_takes_logits_out():
    """-inf where a candidate is out; an edge that is out altogether stays as it is."""
    logits, mask = jnp.float32(normal(2, TINY.shape)), a_mask()
    got = mixing.masked(logits, jnp.asarray(mask))
    want = np.where(mask, logits, -np.inf)
    want[OUT] = logits[OUT]
    np.testing.assert_array_equal(got, want)
    assert mixing.masked(logits, None) is logits


def test_relaxed_rows_are_softmaxes_of_what_is_in():
    """Against a loop over edges, in float32; without a mask too."""
    logits, mask = normal(3, TINY.shape), a_mask()
    given = jnp.float32(logits)
    for own in (mask, None):
        got = mixing.relax(relaxations.softmax, jax.random.key(0), given, own, PROGRESS)
        whole = np.ones(TINY.shape, bool)
        want = loop_of_rows(logits, whole if own is None else own)
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("name", registry.RELAXATIONS)
def test_what_is_out_weighs_nothing(name):
    """In any relaxation: exact zeros, no NaN, and gradients that are finite or 0."""
    logits, mask = jnp.float32(normal(4, TINY.shape)), a_mask()
    slope = jnp.float32(normal(5, TINY.shape))

    @jax.jit
    def run(logits, mask):
        def total(logits):
            weights = mixing.relax(
                registry.RELAXATIONS[name], jax.random.key(1), logits, mask, PROGRESS
            )
            return (weights * slope).sum(), weights

        return jax.grad(total, has_aux=True)(logits)

    grads, weights = run(logits, jnp.asarray(mask))
    assert not weights[~mask].any() and not grads[~mask].any()
    assert np.isfinite(weights).all() and np.isfinite(grads).all()
    assert weights[mask].any()
    reads = name not in ("uniform", "uniform_path")
    assert grads[mask].any() == reads
    some = np.delete(np.asarray(weights).reshape(-1, TINY.shape[-1]), 7, 0)  # not OUT
    assert (some.sum(-1) > 0).all()


@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("mask", [None, a_mask()], ids=["whole", "masked"])
def test_eval_weights_are_products(edges, mask):
    """Rows times the weights of their edges, where a method has them."""
    logits, beta = normal(6, TINY.shape), normal(7, TINY.shape[:2])
    arch = jnp.float32(logits)
    want = loop_of_rows(logits, np.ones(TINY.shape) if mask is None else mask)
    if edges:
        arch = types.ArchParams(arch, jnp.float32(beta))
        for c, e in np.ndindex(*TINY.shape[:2]):
            want[c, e] *= loop_of_edges(TINY, beta)[c, e]
    got = mixing.eval_weights(TINY, relaxations.softmax, arch, mask)
    np.testing.assert_allclose(got, want, atol=1e-6)
    state = gradient.GradientState((), arch, (), (), mask, None)
    weights_of = mixing.build_weights_of(TINY, relaxations.softmax)
    np.testing.assert_array_equal(weights_of(state), got)


def test_eval_weights_are_those_of_progress_one():
    """And of one key, in each call."""
    calls = []

    def relaxation(key, logits, progress):
        calls.append((float(progress), jax.random.key_data(key).tolist()))
        return logits

    for _ in range(2):
        mixing.eval_weights(TINY, relaxation, jnp.zeros(TINY.shape))
    assert calls[0] == calls[1] and calls[0][0] == 1


# The losses: a supernet of one line, whose cross-entropy has its gradients by hand.


def stand_in():
    """outputs = x . tanh(sum weights P), for P f32[C, E, O, F, K]."""

    def apply(params, x, weights, *, key=None, variant_inputs=None):
        hidden = jnp.einsum("ceo,ceofk->fk", weights, params)
        return x.reshape(len(x), -1) @ jnp.tanh(hidden)

    def init(key):
        return jax.random.normal(key, (*TINY.shape, 4, 3))

    return networks.Supernet(init, apply, TINY)


def by_hand(params, weights, images, labels):
    """(cross-entropy, its gradient in params, its gradient in weights), in NumPy."""
    x = images.reshape(len(images), -1)
    hidden = np.tanh(np.einsum("ceo,ceofk->fk", weights, params))
    outputs = x @ hidden
    chances = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
    hit = np.eye(3)[labels]
    loss = -np.log((chances * hit).sum(-1)).mean()
    d_hidden = x.T @ (chances - hit) / len(x) * (1 - hidden**2)
    d_params = weights[..., None, None] * d_hidden
    return loss, d_params, np.einsum("ceofk,fk->ceo", params, d_hidden)


def problem(mask=None, edges=True):
    """A batch, parameters and outer variables in float64."""
    batch = gradient.Batch(
        jnp.asarray(normal(8, (6, 2, 2, 1))),
        jnp.arange(6) % 3,
        PROGRESS,
        None if mask is None else jnp.asarray(mask),
    )
    params = 0.3 * normal(9, (*TINY.shape, 4, 3))
    logits, beta = normal(10, TINY.shape), normal(11, TINY.shape[:2])
    arch = jnp.asarray(logits)
    if edges:
        arch = types.ArchParams(arch, jnp.asarray(beta))
    return jnp.asarray(params), arch, batch, (params, logits, beta)


def climb(key, weights, progress, loss):
    """A perturbation by the loss that it is given, and by nothing random."""
    return weights + progress * jax.grad(loss)(weights)


def edge_slopes(b, d_b):
    """Takes a gradient in edge weights f64[C, E] back to their logits, by hand."""
    slopes = np.zeros(b.shape)
    for c, e in np.ndindex(*b.shape):
        rivals = [target == TINY.edges[e][1] for _, target in TINY.edges]
        slopes[c, e] = b[c, e] * (d_b[c, e] - (b[c] * d_b[c])[rivals].sum())
    return slopes


@pytest.mark.parametrize("mask", [None, a_mask()], ids=["whole", "masked"])
@pytest.mark.parametrize("edges", [False, True])
def test_the_training_loss_is_at_the_perturbed_weights(edges, mask):
    """Value and gradients against NumPy in float64, the perturbation held fixed.

    With total weights t = (p + d) b of rows p, perturbation d and edge weights b, the
    gradient in p is that in t times b, and goes through the softmax of p alone.
    """
    with jax.enable_x64(True):
        given, arch, batch, (params, logits, beta) = problem(mask, edges)
        images, labels = np.asarray(batch.images), np.asarray(batch.labels)
        train_loss, _ = gradient.build_losses(
            stand_in(), relaxations.softmax, perturbation=climb
        )
        run = jax.value_and_grad(train_loss, argnums=(1, 2), has_aux=True)
        (loss, metrics), (d_params, d_arch) = jax.jit(run)(
            jax.random.key(0), given, arch, batch
        )
    rows = loop_of_rows(logits, np.ones(TINY.shape) if mask is None else mask)
    b = loop_of_edges(TINY, beta) if edges else np.ones(TINY.shape[:2])
    each = b[..., None]
    unmoved, _, slope = by_hand(params, rows * each, images, labels)
    moved = rows + float(PROGRESS) * slope * each
    want, want_params, d_total = by_hand(params, moved * each, images, labels)
    np.testing.assert_allclose(loss, want, rtol=1e-10)
    assert float(loss) > unmoved + 1e-3  # the test can fail
    np.testing.assert_allclose(d_params, want_params, rtol=1e-9, atol=1e-12)
    d_rows = d_total * each
    d_logits = rows * (d_rows - (rows * d_rows).sum(-1, keepdims=True))
    got, d_edges = mixing.split(d_arch)
    np.testing.assert_allclose(got, d_logits, rtol=1e-9, atol=1e-12)
    if edges:
        slopes = edge_slopes(b, (d_total * moved).sum(-1))
        np.testing.assert_allclose(d_edges, slopes, rtol=1e-8, atol=1e-12)
    hidden = np.tanh(np.einsum("ceo,ceofk->fk", moved * each, params))
    found = (images.reshape(6, -1) @ hidden).argmax(-1)
    np.testing.assert_allclose(metrics["accuracy"], (found == labels).mean(), rtol=1e-6)


@pytest.mark.parametrize("mask", [None, a_mask()], ids=["whole", "masked"])
def test_without_perturbation_both_losses_are_one(mask):
    """The validation loss is never perturbed; what is random draws by the same key."""
    with jax.enable_x64(True):
        given, arch, batch, (params, logits, beta) = problem(mask)
        rows = loop_of_rows(logits, np.ones(TINY.shape) if mask is None else mask)
        total = rows * loop_of_edges(TINY, beta)[..., None]
        want, _, _ = by_hand(
            params, total, np.asarray(batch.images), np.asarray(batch.labels)
        )
        plain, _ = gradient.build_losses(stand_in(), relaxations.softmax)
        _, valid = gradient.build_losses(
            stand_in(), relaxations.softmax, perturbation=climb
        )
        for loss in (plain, valid):
            got, _ = loss(jax.random.key(0), given, arch, batch)
            np.testing.assert_allclose(got, want, rtol=1e-10)


def test_regularizers_enter_the_validation_loss_alone():
    """Each is added once, with the masked logits, the weights and the progress."""
    with jax.enable_x64(True):
        mask = a_mask()
        given, arch, batch, (_, logits, _) = problem(mask)

        def first(logits, weights, progress):
            return 3 * progress * jnp.where(jnp.isneginf(logits), 0, logits).sum()

        def second(logits, weights, progress):
            return jnp.isneginf(logits).sum() + (weights**2).sum()

        def values_and_slopes(regularizers):
            pair = gradient.build_losses(
                stand_in(), relaxations.softmax, regularizers=regularizers
            )
            run = [jax.jit(jax.value_and_grad(f, 2, has_aux=True)) for f in pair]
            found = [f(jax.random.key(0), given, arch, batch) for f in run]
            return [(value, slope) for (value, _), slope in found]

        (train, train_slope), (valid, valid_slope) = values_and_slopes(())
        (same, same_slope), (more, more_slope) = values_and_slopes((first, second))
        assert same == train
        np.testing.assert_array_equal(same_slope.operations, train_slope.operations)
        rows = loop_of_rows(logits, mask)
        kept = mask | ~mask.any(-1, keepdims=True)
        penalty = 1.5 * logits[kept].sum() + (~kept).sum() + (rows**2).sum()
        np.testing.assert_allclose(more - valid, penalty, rtol=1e-10)
        # d (p . p) / d logit = 2 p (p - p . p), and 3 / 2 for each that is kept
        slope = 2 * rows * (rows - (rows**2).sum(-1, keepdims=True)) + 1.5 * kept
        got = more_slope.operations - valid_slope.operations
        np.testing.assert_allclose(got, slope, atol=1e-10)
        np.testing.assert_allclose(more_slope.edges, valid_slope.edges, atol=1e-12)


def test_a_perturbation_of_the_registry_sees_the_training_loss():
    """SDARTS' adversary never lowers the loss, and raises it here."""
    given, arch, batch, _ = problem(a_mask())
    pair = [
        gradient.build_losses(stand_in(), relaxations.softmax, perturbation=p)[0]
        for p in (None, perturbations.adversarial)
    ]
    key = jax.random.key(0)
    plain, worse = (jax.jit(f)(key, given, arch, batch)[0] for f in pair)
    assert worse > plain + 1e-3


def test_gradients_of_a_supernet_are_finite():
    """In logits and edges of a real network, with an edge that is out."""
    net = networks.supernet(MINI, networks.Size(2, 1, 2, channels=1))
    mask = jnp.ones(MINI.shape, bool).at[0, 1].set(False).at[0, 0, 1].set(False)
    batch = gradient.Batch(
        jnp.float32(normal(12, (4, 4, 4, 1))), jnp.arange(4) % 2, PROGRESS, mask
    )
    arch = types.ArchParams(
        jnp.float32(normal(13, MINI.shape)), jnp.float32(normal(14, MINI.shape[:2]))
    )
    loss, _ = gradient.build_losses(
        net, relaxations.softmax, perturbation=perturbations.uniform
    )
    run = jax.jit(jax.grad(loss, 2, has_aux=True))
    params = program.once(net.init)(jax.random.key(0))
    (operations, edges), _ = run(jax.random.key(0), params, arch, batch)
    assert np.isfinite(operations).all() and np.isfinite(edges).all()
    assert not operations[0, 0, 1] and not operations[0, 1].any()
    assert operations[0, 0, 2] and edges[0, 2]
