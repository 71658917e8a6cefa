"""Pieces that different methods need, combined: nothing is lost without a word."""

import dataclasses
import functools

import hooks_test
import jax
import jax.numpy as jnp
import numpy as np
import own_paths
import pytest

from jnas import data, gradient, networks, registry, run, spaces
from jnas.gradient import hooks, methods, mixing, relaxations
from jnas.gradient.hooks import hook as hook_lib
from jnas.studies import finalists, search_gradient
from jnas.training import program

NB201 = spaces.zoo.nasbench201()
SMALL = networks.Size(4, 1, 2, channels=1)
DIGITS = dict(batch_size=128, features=2, layers=1, epochs=1)


def shares(net, params, images, statistic):
    """Each candidate's statistic in the first cell, at equal weights."""
    weights = jnp.full(NB201.shape, 0.2)
    return net.inside.statistics(params, images, weights, statistic)[0]


def test_outputs_of_entangled_candidates_are_theirs():
    """A family's member by itself, with the largest kernel cut: not zeros."""
    variant = networks.EdgeVariant(entangled=True)
    net = networks.supernet(NB201, SMALL, variant=variant)
    params = program.once(net.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (3, 4, 4, 1))
    found = shares(net, params, images, lambda y: jnp.abs(y).mean())
    names = NB201.candidates_of(0, 0)
    for name in ("nor_conv_1x1", "nor_conv_3x3"):
        assert (found[:, names.index(name)] > 0.1).all(), name
    assert not found[:, names.index("none")].any()
    # of the first edge, by the operation of its own kernel
    layer, _, mixture = next(one for one in net.layers if one[2] is not None)
    family = mixture.groups[0].families[0]
    own = jax.tree.map(
        lambda leaf: leaf[0], params[layer]["nodes"][mixture.groups[0].name]
    )[family.name]
    x = jax.random.normal(jax.random.key(2), (3, 4, 4, 4))
    hot = jnp.float32(np.array(family.names) == "nor_conv_1x1")
    y, _ = family.op.apply(family.mixed(own, hot), {}, x)
    kernel = jax.tree.leaves(family.cut(own, "nor_conv_1x1"))
    kernel = next(leaf for leaf in kernel if leaf.ndim == 4)
    z = jnp.einsum("bhwi,io->bhwo", jax.nn.relu(x), kernel[0, 0])
    z = (z - z.mean((0, 1, 2))) / jnp.sqrt(z.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(y, z, atol=1e-4)


def test_entangled_candidates_can_be_frozen():
    """OLES finds the family's parameters, under the name of the largest."""
    variant = networks.EdgeVariant(entangled=True)
    net = networks.supernet(NB201, SMALL, variant=variant)
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert {one.name for one in net.inside.candidates} == {"nor_conv_3x3"}
    for one in net.inside.candidates:
        tree = params
        for key in one.path:
            tree = tree[key]
        assert jax.tree.leaves(tree)


def test_hooks_begin_with_what_their_segment_begins_with():
    """The second stage's angle is from the first one's last parameters."""
    kept = []

    def keeping(search, *, every=1):
        def init(state):
            return jax.tree.map(jnp.copy, state.params)

        def call(key, clock, state, carry, split):
            return state, carry, {}, False

        return hooks.Hook(every, init, call)

    method = dataclasses.replace(
        registry.METHODS["few_shot"](), hooks=(keeping,), epochs=2, features=2,
        layers=1, batch_size=4,
        stages=(methods.Stage(0.5), methods.Stage(0.5, split=0)),
    )  # fmt: skip
    setting = gradient.Setting(own_paths.SIZE, own_paths.PLAIN, (8, 8))
    first, second = gradient.build_segments(method, own_paths.SPACE, setting)
    before = first.program.init(jax.random.key(0))
    after = second.carry(before, second.program.init(jax.random.key(1)))
    kept = after.inner.hooks[0].carry
    jax.tree.map(np.testing.assert_array_equal, kept, after.inner.params)


def test_paths_have_no_edge_that_is_removed():
    """A row without options is not drawn: paths keep as many edges as nodes keep."""
    space = spaces.CellSpace(
        "mini", ("cell",), 2, 2, ("none", "skip_connect", "nor_conv_1x1"), 2, (2, 3)
    )
    mask = jnp.ones(space.shape, bool).at[0, 3].set(False)
    relax = functools.partial(
        mixing.relax,
        mixing.in_space(relaxations.uniform_path, space),
        logits=jnp.zeros(space.shape),
        mask=mask,
        progress=0.0,
    )
    drawn = jax.vmap(lambda key: relax(key))(jax.random.split(jax.random.key(0), 200))
    assert (drawn.sum((1, 2, 3)) == 4).all() and not drawn[:, 0, 3].any()


def test_copies_are_mixed_by_shares():
    """Equal copies are the whole supernet, whatever a row's weights sum to."""
    net = networks.supernet(NB201, SMALL)
    split = networks.split(net, 0)
    params = program.once(net.init)(jax.random.key(0))
    copies = networks.copied(params, jax.eval_shape(split.init, jax.random.key(1)))
    images = jax.random.normal(jax.random.key(2), (3, 4, 4, 1))
    weights = jnp.full(NB201.shape, 0.5).at[0, 0, 1:4].set(0)
    np.testing.assert_allclose(
        jax.jit(split.apply)(copies, images, weights),
        jax.jit(net.apply)(params, images, weights),
        atol=1e-4,
    )


def test_drop_path_is_in_the_training_loss_alone():
    """The validation loss of two keys is one number; the training loss two."""
    seen = []

    def noting(train_loss, valid_loss, *, params_optimizer, **rest):
        made = registry.ORDERS["logits_first"](
            train_loss, valid_loss, params_optimizer=params_optimizer, **rest
        )

        def step(key, state, train, valid, **more):
            keys = jax.random.split(key)
            values = [
                loss(own, state.params, state.logits, batch)[0]
                for loss, batch in ((train_loss, train), (valid_loss, valid))
                for own in keys
            ]
            jax.debug.callback(lambda *v: seen.append(v), *values)
            return made.step(key, state, train, valid, **more)

        return made._replace(step=step)

    hooks_test.run(hooks_test.short(drop_path_rate=0.5, order=noting, epochs=1))
    jax.effects_barrier()
    assert len(seen) == 4
    assert all(one[0] != one[1] and one[2] == one[3] for one in seen)


def found_of(tmp_path, method, **settings):
    """The result of a search of the digits."""
    space, digits = spaces.zoo.nasbench201(), data.shrink(data.load("digits"), 2)
    made = search_gradient.SearchSettings(method, **settings)
    with run.open_run(tmp_path / "run") as r:
        return search_gradient.search_cells(r, digits, space, made)


def test_the_best_seed_and_its_finalists_are_those_of_the_hook(tmp_path):
    """By the score of the path that it chose, and no cell of equal weights."""
    paths = jnp.array([[1, 1, 1, 1, 1, 1], [3, 1, 0, 2, 1, 3]])

    def choosing(search, *, every=1):
        def init(state):
            return jnp.zeros((), bool), jnp.zeros(6, jnp.int32), jnp.float32(0)

        def call(key, clock, state, carry, split):
            good = jax.random.bernoulli(key)  # another one for each seed
            score = jnp.where(good, 0.9, 0.2).astype(jnp.float32)
            carry = jnp.ones((), bool), paths[good.astype(jnp.int32)], score
            return state, carry, {"good": good}, False

        return hook_lib.Hook(
            1, init, call, ("good",), found=lambda carry: carry[:2],
            score=lambda carry: carry[2],
        )  # fmt: skip

    method = dataclasses.replace(
        registry.METHODS["rsps"](), hooks=(choosing,), **DIGITS
    )
    found = found_of(tmp_path, method, num_seeds=4, finalists=3)
    each = {tuple(one) for one in found.encodings}
    assert each <= {tuple(np.asarray(one)) for one in paths}
    assert len(each) == 2  # the test can fail: both paths occur
    shown = {one["genotype"] for one in found.result["finalists"]}
    assert len(shown) == 2  # of three wanted: no third cell is made up
    with pytest.raises(ValueError, match="finalists must be 0 for one search"):
        found_of(tmp_path / "one", method, finalists=2)


def test_own_cells_are_finalists_before_the_likeliest():
    """Even one that no weight speaks for."""
    weights = np.full((1, *NB201.shape), 0.05)
    weights[..., 3] = 0.8
    first = np.array([[1, 2, 1, 2, 1, 2]])
    chosen = finalists._take_turns(NB201, weights, 3, (), first)
    assert chosen[0][1].tolist() == first[0].tolist() and len(chosen) == 3
    assert chosen[1][1].tolist() == [3] * 6


def test_no_allowed_path_is_said(tmp_path):
    """In place of an advice on the logits' learning rate."""
    none = functools.partial(hooks.paths.score_paths, num_evaluations=2)

    def blind(search):
        own = none(search)
        return own._replace(found=lambda carry: (carry.done & False, carry.encoding))

    method = dataclasses.replace(registry.METHODS["rsps"](), hooks=(blind,), **DIGITS)
    found = found_of(tmp_path, method)
    assert "No path was chosen" in found.result["verdict"]
    (warning,) = found.result["warnings"]
    assert "no proposed path keeps the limits" in warning


REFUSED = {
    "weight_regularizers must have a rule that replaces": dict(
        weight_regularizers=("alignment", "strict_fairness")
    ),
    "perturbation must be left out with the weight regularizer strict": dict(
        weight_regularizers=("strict_fairness",), perturbation="uniform"
    ),
    "weight_regularizers must leave each_copy out without a stage's split": dict(
        weight_regularizers=("each_copy",)
    ),
    "skip_zeros must be off with the weight regularizer alignment": dict(
        weight_regularizers=("alignment",), skip_zeros=True
    ),
    "frozen_rate must be left out where no step moves the logits, got 0.3": dict(
        alternation="never", frozen_rate=0.3, logits_learning_rate=3e-4
    ),
    "logits_optimizer must be left out where no step moves": dict(
        alternation="never", logits_optimizer="sgd", logits_learning_rate=3e-4
    ),
    "drop_path_rate must be below 1, got 1": dict(drop_path_rate=1.0),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_would_be_lost_is_refused(message):
    """Before anything runs, in one line."""
    with pytest.raises(ValueError, match=message):
        gradient.check(hooks_test.short(**REFUSED[message]), NB201)
