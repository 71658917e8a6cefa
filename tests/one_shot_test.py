"""Tests of one-shot methods: uniform paths, and the path that scoring chooses."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import own_paths
import pytest

from jnas import data, gradient, networks, registry, spaces
from jnas.data import batches
from jnas.gradient import hooks, mixing, relaxations
from jnas.gradient.hooks import paths, proposals
from jnas.studies import gradient_segment, setup, verdict
from jnas.training import program

NAMES = "rsps", "spos", "fair", "rlnas", "few_shot"
CELLS = spaces.CellSpace(
    "mini", ("cell",), 2, 2, ("none", "skip_connect", "nor_conv_1x1"), 2, (2, 3)
)
VALID = 42, 3  # images of the validation split, seed


def drawn(space, count=20_000, mask=None):
    """Draws uniform paths; returns how often each encoding came."""
    relax = mixing.in_space(relaxations.uniform_path, space)
    logits = jax.tree.map(lambda s: jnp.zeros(s.shape), spaces.rows.shapes(space))

    def one(key):
        path = mixing.relax(relax, key, logits, mask, jnp.float32(0))
        encoding = space.strongest(path)
        same = jax.tree.map(lambda a, b: (a == b).all(), path, space.weights(encoding))
        return encoding, jnp.stack(jax.tree.leaves(same)).all()

    encodings, same = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count))
    assert bool(same.all())  # every draw is one architecture of the space
    _, counts = np.unique(encodings, axis=0, return_counts=True)
    return encodings, counts


@pytest.mark.parametrize("space", [own_paths.SPACE, CELLS], ids=["choices", "cells"])
def test_paths_are_uniform_over_the_architectures(space):
    """Every encoding equally often, to five deviations of a binomial count."""
    total, count = math.prod(space.sizes), 20_000
    _, counts = drawn(space, count)
    assert len(counts) == total
    chance = 1 / total
    deviation = (count * chance * (1 - chance)) ** 0.5
    assert np.abs(counts - count * chance).max() < 5 * deviation


def test_removed_options_are_never_drawn():
    """Of a mask over leaves; the others stay uniform."""
    mask = {"block": jnp.ones((2, 3), bool).at[1, 2].set(False)}
    mask["pool"] = jnp.array([False, True])
    encodings, counts = drawn(own_paths.SPACE, 5_000, mask)
    assert (np.asarray(encodings)[:, 1] != 2).all() and (encodings[:, 2] == 1).all()
    assert len(counts) == 6
    assert np.abs(counts - 5_000 / 6).max() < 5 * (5_000 * 5 / 36) ** 0.5


def test_the_gradient_of_the_logits_is_zero():
    """And two keys give two paths."""
    logits = jnp.zeros((4, 3))
    relax = relaxations.uniform_path
    slope = jax.grad(lambda a: relax(jax.random.key(0), a, 0.0).sum() * 3.0)(logits)
    assert not slope.any()
    draws = [relax(jax.random.key(i), logits, 0.0) for i in range(2)]
    assert (draws[0] != draws[1]).any() and (draws[0].sum(-1) == 1).all()


def search_of(num_epochs=1, **changes):
    """What a hook on the 18 paths is built from."""
    net = own_paths.supernet(own_paths.SPACE, own_paths.SIZE)
    net = net._replace(
        apply=lambda p, x, w, key=None, variant_inputs=None, a=net.apply: a(p, x, w)
    )
    made = hooks.Search(
        net,
        mixing.build_weights_of(own_paths.SPACE, relaxations.softmax),
        registry.SELECTIONS["strongest"], own_paths.PLAIN, 8, num_epochs,
    )  # fmt: skip
    return made._replace(**changes)


def state_of(search, seed=1, mask=None):
    """A state with drawn parameters."""
    params = search.supernet.init(jax.random.key(seed))
    return gradient.GradientState(params, None, (), (), mask)


def called(hook, state, key=0):
    """Calls a hook as at the end of the last epoch; returns carry and values."""
    return _call(hook)(jax.random.key(key), state, own_paths.split(*VALID))


@functools.cache
def _call(hook):
    """Compiles the call of a hook."""
    clock = program.Clock(jnp.int32(0), jnp.float32(1), jnp.int32(9))

    def call(key, state, split):
        return hook.call(key, clock, state, hook.init(state), split)[1:3]

    return jax.jit(call)


def accuracies(params, count=None):
    """Scores all 18 paths in NumPy on the fixed batches of the validation split."""
    rows = batches.spread(VALID[0], 8, count)
    images, labels = map(np.asarray, own_paths.split(*VALID))
    images = (images - 0.5) / 0.25
    return np.array([
        np.mean([
            own_paths.outputs(params, images[row], encoding).argmax(-1) == labels[row]
            for row in rows
        ])
        for encoding in own_paths.ALL
    ])  # fmt: skip


def place_of(encoding):
    """Number of an encoding among all."""
    return int((own_paths.ALL == np.asarray(encoding)).all(-1).argmax())


@pytest.mark.parametrize(
    "controller", ["random_search", "regularized_evolution", "nsga2"]
)
def test_the_chosen_path_is_that_of_scoring_all(controller):
    """Any controller that proposes enough finds the best of 18; by NumPy's network."""
    search = search_of()
    state = state_of(search)
    hook = paths.score_paths(search, controller=controller, num_evaluations=200)
    carry, values = called(hook, state)
    truth = accuracies(state.params)
    assert truth.max() > truth.mean() + 0.05  # the test can fail
    np.testing.assert_allclose(carry.score, truth.max(), rtol=1e-6)
    np.testing.assert_allclose(truth[place_of(carry.encoding)], truth.max())
    np.testing.assert_allclose(values["best_path_accuracy"], carry.score)
    assert float(values["mean_path_accuracy"]) < truth.max()
    assert bool(hook.found(carry)[0])


def test_finalists_are_scored_again_on_the_whole_split():
    """As in plain loops: proposals on one batch, the best on all; best of two rounds.

    The proposals are the hook's own: its score is NumPy's, its order that of a sort.
    """
    search = search_of()
    state = state_of(search)
    controller = registry.CONTROLLERS["random_search"](own_paths.SPACE.sizes)
    hook = paths.score_paths(
        search, num_evaluations=8, num_batches=1, num_finalists=2, num_rounds=2
    )
    once, whole = accuracies(state.params, 1), accuracies(state.params)
    propose = jax.jit(
        lambda key: proposals.propose(key, controller, lambda e: jnp.float32(0), 8)
    )
    others = []
    for seed in range(6):
        carry, values = called(hook, state, key=seed)
        winners, means = [], []
        for key in jax.random.split(jax.random.split(jax.random.key(seed))[0], 2):
            seen = [place_of(e) for e in propose(key).encodings]
            means.append(np.mean([once[i] for i in seen]))
            finalists = sorted(seen, key=lambda i: -once[i])[:2]  # stable
            winners.append(max(finalists, key=lambda i: whole[i]))
            others += [whole[seen].max() > whole[winners[-1]]]
            others += [whole[seen[:2]].max() < whole[winners[-1]]]
        best = max(winners, key=lambda i: whole[i])
        assert place_of(carry.encoding) == best
        np.testing.assert_allclose(carry.score, whole[best], rtol=1e-6)
        mean = values["mean_path_accuracy"]
        np.testing.assert_allclose(mean, np.mean(means), rtol=1e-6)
    # the better one was no finalist somewhere, and the first ones were not somewhere
    assert any(others[::2]) and any(others[1::2])


class Most:
    """A limit: at most so many blocks that are not skipped."""

    def __init__(self, most):
        """Keeps the bound."""
        self.most = most

    def violation(self, weights):
        """Blocks above the bound."""
        return weights["block"][:, 1:].sum() - self.most


def test_paths_keep_the_mask_and_the_limits():
    """The best of those that are allowed; no path at all where none is."""
    mask = {"block": jnp.ones((2, 3), bool).at[0, 1].set(False)}
    mask["pool"] = jnp.array([True, False])
    search = search_of(limits=(Most(1),))
    state = state_of(search, mask=mask)
    build = functools.partial(paths.score_paths, num_evaluations=200)
    carry, _ = called(build(search), state)
    fits = [e[0] != 1 and e[2] == 0 and (e[:2] > 0).sum() <= 1 for e in own_paths.ALL]
    truth = accuracies(state.params)
    assert truth.max() > truth[fits].max()  # the test can fail
    np.testing.assert_allclose(carry.score, truth[fits].max(), rtol=1e-6)
    assert fits[place_of(carry.encoding)]
    none = search_of(limits=(Most(-1),))
    carry, values = called(build(none), state)
    assert not bool(hooks.proposals.found(carry)[0])
    assert np.isnan(values["mean_path_accuracy"])


def test_the_same_key_chooses_the_same_path():
    """And another one sees other paths."""
    search = search_of()
    state, hook = state_of(search), paths.score_paths(search, num_evaluations=5)
    runs = [called(hook, state, key) for key in (0, 0, 1)]
    jax.tree.map(np.testing.assert_array_equal, runs[0], runs[1])
    assert runs[0][1]["mean_path_accuracy"] != runs[2][1]["mean_path_accuracy"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (dict(num_evaluations=0), "num_evaluations at least 1, got 0"),
        (dict(num_batches=0), "num_batches at least 1, got 0"),
        (dict(num_finalists=9, num_evaluations=3), "num_finalists from 0 to"),
        (dict(mutation_rate=0.1), "mutation_rate must be left out with controller ran"),
        (dict(controller="nsga3"), "controller must be .*'nsga2'"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(numbers, message):
    """Before anything runs."""
    with pytest.raises((ValueError, KeyError), match=message):
        paths.score_paths(search_of(), **numbers)


def run(name, num_seeds=None, seed=0, **changes):
    """Runs a method on the 18 paths; returns its last segment, state and metrics."""
    small = {"epochs": 6, "batch_size": 8, "learning_rate": 0.1}
    method = dataclasses.replace(registry.METHODS[name](), **small | changes)
    gradient.check(method, own_paths.SPACE)
    counts = 48, VALID[0]
    setting = gradient.Setting(own_paths.SIZE, own_paths.PLAIN, counts, num_seeds)
    splits, state = (own_paths.split(48), own_paths.split(*VALID)), None
    for number, segment in enumerate(
        gradient.build_segments(method, own_paths.SPACE, setting)
    ):
        fresh = segment.program.init(jax.random.key(10 * seed + number))
        state = fresh if state is None else segment.carry(state, fresh)
        state, metrics = program.run(segment.program, state, splits)
    return segment, state, metrics


@pytest.mark.parametrize("name", ["rsps", "spos"])
def test_a_search_ends_with_the_best_of_all_paths(name):
    """Trained by uniform paths; with its own paper's numbers of evaluations."""
    segment, state, metrics = run(name)
    truth = accuracies(state.inner.params)
    encoding, weights = gradient.derive(segment.pieces, own_paths.SPACE, state)
    np.testing.assert_allclose(truth[place_of(encoding)], truth.max())
    np.testing.assert_allclose(metrics["best_path_accuracy"], truth.max(), rtol=1e-6)
    assert all((leaf == leaf[..., :1]).all() for leaf in jax.tree.leaves(weights))
    assert gradient_segment.chosen(segment, state)
    assert truth.max() > 0.6  # it has learned


def test_seeds_are_searches_of_their_own():
    """Side by side; the same key gives the same."""
    numbers = dict(epochs=1, hooks=("score_paths",))
    one, again = (run("spos", 2, **numbers)[1].inner for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one.params, again.params)
    jax.tree.map(np.testing.assert_array_equal, one.hooks, again.hooks)
    assert (one.params["head"][0] != one.params["head"][1]).any()
    assert one.hooks[0].carry.encoding.shape == (2, 3)


def test_the_rows_have_their_papers_numbers():
    """Those of the released code; no logits move, and a hook chooses."""
    made = {name: registry.METHODS[name]() for name in NAMES}
    for method in made.values():
        assert (method.relaxation, method.alternation) == ("uniform_path", "never")
        assert method.learning_rate == 0.025 and method.final_learning_rate == 0.001
    assert [made[n].epochs for n in NAMES] == [100, 250, 250, 250, 900]
    assert [made[n].batch_size for n in NAMES] == [64, 64, 64, 64, 48]
    assert [made[n].weight_decay for n in NAMES] == [3e-4, 5e-4, 5e-4, 3e-4, 1e-4]
    assert [made[n].clip_norm for n in NAMES] == [0.25, 0, 0, 5, 0]
    assert [made[n].nesterov for n in NAMES] == [False, True, True, False, True]
    stages = [round(900 * stage.epochs_rate) for stage in made["few_shot"].stages]
    assert stages == [600, 300] and made["few_shot"].stages[1].split == 0
    (hook,) = made["rsps"].hooks
    assert hook.keywords == {
        "num_evaluations": 1000, "num_batches": 10, "num_finalists": 10, "num_rounds": 3
    }  # fmt: skip
    (hook,) = made["spos"].hooks
    assert hook.keywords["num_evaluations"] == 20 * 50


def test_what_a_hook_chose_is_not_called_still():
    """Equal weights say nothing of a search whose logits no step moves."""
    weights = [np.full((1, 2, 3), 1 / 3)]
    labels = np.arange(100) % 2
    plain = verdict.of_gradient(weights, [0.9], labels)
    assert "hardly moved" in plain.warnings[0]
    found = verdict.of_gradient(weights, [0.9], labels, one_hot=0.95, chosen=True)
    assert found.warnings == ()
    assert found.text == (
        "A hook chose the cell among paths of the supernet; validation accuracy of the "
        "supernet 0.9, of its cell alone in it 0.95."
    )
    guess = verdict.of_gradient(weights, [0.5], labels, chosen=True)
    assert "is that of guessing" in guess.warnings[0]
    dataset = data.load("digits")
    few = dataclasses.replace(registry.METHODS["spos"](), epochs=3)
    assert verdict.small_budget(few, dataset, 0.5) == ""
    moving = dataclasses.replace(few, alternation="every_step")
    assert "is the paper's" in verdict.small_budget(moving, dataset, 0.5)


def test_without_a_hook_a_search_without_steps_is_still():
    """What counts is what hooks did, not what the alternation is."""
    assert not gradient_segment.chosen(*run("spos", epochs=1, hooks=())[:2])


def test_random_classes_are_fixed_and_uniform():
    """One for each image, the same for the same seed, on host and device."""
    dataset = data.load("digits")
    count = 4_000
    images, labels = np.zeros((count, 1)), np.arange(count, dtype=np.int32) % 10
    host = setup.random_classes((images, labels), dataset, seed=3)
    device = setup.random_classes((images, jnp.asarray(labels)), dataset, seed=3)
    other = setup.random_classes((images, labels), dataset, seed=4)
    assert isinstance(host[1], np.ndarray) and host[0] is images
    np.testing.assert_array_equal(host[1], device[1])
    assert host[1].dtype == labels.dtype and 0.05 < (host[1] == other[1]).mean() < 0.15
    table = np.zeros((10, 10))
    np.add.at(table, (labels, host[1]), 1)  # independent of the true ones
    assert np.abs(table - count / 100).max() < 5 * (count / 100) ** 0.5
    numbers = dataclasses.replace(
        dataset, y_train=np.float32(dataset.y_train), y_test=np.float32(dataset.y_test),
        task_name="regression", num_classes=0, class_names=(),
    )  # fmt: skip
    with pytest.raises(ValueError, match="random_labels must be off where targets"):
        setup.check_classes(numbers)


def test_sizes_of_the_toy_are_those_of_its_supernet():
    """NumPy's network is the supernet at one-hot weights."""
    net = own_paths.supernet(own_paths.SPACE, own_paths.SIZE)
    params, (images, _) = net.init(jax.random.key(0)), own_paths.split(8)
    apply = jax.jit(net.apply)
    for encoding in own_paths.ALL:
        found = apply(params, images, own_paths.SPACE.weights(jnp.asarray(encoding)))
        wanted = own_paths.outputs(params, images, encoding)
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)
    assert networks.Supernet(None, None, own_paths.SPACE).split is None


def test_paths_are_scored_with_statistics_of_other_images():
    """Each path's signal equals that of a network recalibrated by hand."""
    space = spaces.CellSpace(
        "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
    )
    net = networks.supernet(space, networks.Size(4, 1, 2, channels=1))
    search = hooks.Search(
        net, mixing.build_weights_of(space, relaxations.softmax),
        registry.SELECTIONS["strongest"], own_paths.PLAIN, 4, 1,
    )  # fmt: skip
    params = net.init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (5, 4, 6, 6, 1)) * 3 + 1
    labels = jnp.arange(20).reshape(5, 4) % 2
    weights = space.weights(jnp.array([2, 1, 2]))
    given = jax.random.key(2), search, params, (images, labels), weights
    got = paths.path_signal(*given, networks.VariantInputs(), num_calibration=2)
    # the first two batches calibrate, the next three are scored together
    own = networks.recalibrated(net, images[:2].reshape(8, 6, 6, 1))
    outputs = own.apply(params, images[2:].reshape(12, 6, 6, 1), weights)
    want = (outputs.argmax(-1) == labels[2:].reshape(12)).mean()
    np.testing.assert_allclose(got, want, atol=1e-6)
    # the norms do read other images: the outputs are not those of the batch alone
    alone = net.apply(params, images[2:].reshape(12, 6, 6, 1), weights)
    assert np.abs(np.asarray(outputs - alone)).max() > 1e-2
    hook = paths.score_paths(search, num_evaluations=3, recalibrate=3, num_batches=2)
    np.testing.assert_array_equal(  # five batches of the split are read
        hook.rows(40), hooks.signal.fixed_rows(40, 4, 5)
    )
    with pytest.raises(ValueError, match="recalibrate at least 0, got -1"):
        paths.score_paths(search, recalibrate=-1)
