"""Tests of the training recipe: formulas against NumPy, early stopping, refusals."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import data, networks, registry, report, run
from jnas.studies import recipes, setup, train_scratch
from jnas.training import optimizers, patience, schedules, scratch
from jnas.training import program as program_lib
from jnas.training import recipe as recipe_lib

AUGMENT = data.Augment((0.0,), (1.0,))


def linear(classes=3):
    """Returns a network of one matrix, whose statistic is the mean of its inputs."""

    def init(key):
        return {"w": jax.random.normal(key, (4, classes))}, {"mean": jnp.float32(0)}

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        outputs = x.reshape(len(x), -1) @ params["w"]
        stats = {"mean": x.mean()} if train else stats
        return (outputs, None), stats

    return networks.Network(init, apply)


def images(count, seed=0):
    """Returns images f32[N, 2, 2, 1] and labels of three classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2, 2, 1)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.integers(0, 3, count), jnp.int32)


def softmax_entropy(outputs, targets):
    """Cross-entropy of f64[B, K] with target distributions, in NumPy."""
    shifted = outputs - outputs.max(-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -(targets * log).sum(-1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_cross_entropy_with_smoothed_targets(smoothing):
    """Targets (1 - s) one-hot + s / K; the same where s is traced, 0 included."""
    rng = np.random.default_rng(1)
    outputs, labels = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    targets = (1 - smoothing) * np.eye(5)[labels] + smoothing / 5
    wanted = softmax_entropy(outputs, targets)
    given = jnp.float32(outputs), jnp.int32(labels)
    for value in (smoothing, jnp.float32(smoothing)):
        found = recipe_lib.smoothed(*given, value)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_mixup_is_a_convex_combination_of_two_images_of_the_batch():
    """Images and loss with one share; the shares have a Beta's moments; 0 is off."""
    x, y = images(5)
    keys = jax.random.split(jax.random.key(3), 4000)
    mix = jax.jit(
        jax.vmap(lambda key, alpha: recipe_lib.mixup(key, x, y, alpha), (0, None))
    )
    many = jax.device_get(mix(keys, jnp.float32(0.4)))
    # Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1))
    assert many.share.mean() == pytest.approx(0.5, abs=0.03)
    assert many.share.var() == pytest.approx(1 / (4 * 1.8), rel=0.06)
    pick = int(np.argmin(abs(many.share - 0.7)))
    mixed = jax.tree.map(lambda a: a[pick], many)
    share = float(mixed.share)
    flat, pairs = np.asarray(x).reshape(5, -1), []
    for row in mixed.images.reshape(5, -1):
        pairs += [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.allclose(row, share * flat[i] + (1 - share) * flat[j], atol=1e-6)
        ]
    assert [i for i, _ in pairs] == list(range(5))
    assert sorted(j for _, j in pairs) == list(range(5))
    assert mixed.others.tolist() == [int(y[j]) for _, j in pairs]
    loss = mixed.mean(lambda labels: labels.astype(jnp.float32).sum())
    np.testing.assert_allclose(loss, int(y.sum()), rtol=1e-6)
    off = mix(keys, jnp.float32(0))  # Beta(0, 0) does not exist
    assert (off.share == 1).all() and (off.images == x).all()


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_moving_average_is_the_weighted_mean(decay):
    """sum d^(t-i) x_i / sum d^(t-i), whatever it starts from."""
    values = np.random.default_rng(0).normal(size=(7, 3))
    old = jnp.full(3, 100.0)
    for t, value in enumerate(values, start=1):
        old = recipe_lib.average(old, jnp.float32(value), decay, jnp.int32(t))
        weights = np.array([decay ** (t - i) for i in range(1, t + 1)])
        wanted = (weights[:, None] * values[:t]).sum(0) / weights.sum()
        # the start, 100, cancels at the first value up to its rounding
        np.testing.assert_allclose(old, wanted, rtol=1e-4, atol=1e-5)


def test_schedules_are_their_formulas():
    """By epoch and by step, with a warm-up, for a traced start too."""
    epochs, per = 10, 4
    for shape in schedules.SHAPES:
        for unit in schedules.UNITS:
            for warmup in (0, 3):
                made = schedules.schedule(
                    shape, start=jnp.float32(0.2), end=0.02, num_epochs=epochs,
                    steps_per_epoch=per, unit=unit, warmup_epochs=warmup,
                )  # fmt: skip
                for step in range(epochs * per):
                    t = step // per if unit == "epoch" else step / per
                    left = {
                        "cosine": (1 + math.cos(math.pi * t / epochs)) / 2,
                        "linear": 1 - t / epochs,
                        "constant": 1,
                    }[shape]
                    wanted = 0.02 + 0.18 * left
                    if t < warmup:
                        wanted = 0.2 * (t + (1 if unit == "epoch" else 1 / per)) / 3
                    assert float(made(step)) == pytest.approx(wanted, rel=1e-5)
    with pytest.raises(ValueError, match="warmup_epochs must be from 0 to 9, .* 10"):
        schedules.schedule(start=1, num_epochs=10, steps_per_epoch=1, warmup_epochs=10)


def test_adamw_and_lion_are_their_algorithms():
    """Three steps in NumPy, with torch's order of decay and learning rate."""
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=4), rng.normal(size=(3, 4))

    def play(tx):
        params, state = jnp.float32(start), tx.init(jnp.float32(start))
        for grad in grads:
            updates, state = tx.update(jnp.float32(grad), state, params)
            params = optax.apply_updates(params, updates)
        return params

    w, m, v = start.copy(), 0, 0
    for t, g in enumerate(grads, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        adam = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w = w - 0.05 * 0.1 * w - 0.05 * adam
    np.testing.assert_allclose(play(optimizers.adamw(0.05, weight_decay=0.1)), w, 1e-4)
    w, m, v = start.copy(), 0, 0
    for t, g in enumerate(grads, start=1):
        g = g + 0.1 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(play(optimizers.adam(0.05, weight_decay=0.1)), w, 1e-4)
    w, m = start.copy(), 0
    for g in grads:
        w = w - 0.05 * (np.sign(0.9 * m + 0.1 * g) + 0.1 * w)
        m = 0.99 * m + 0.01 * g
    np.testing.assert_allclose(play(optimizers.lion(0.05, weight_decay=0.1)), w, 1e-4)


def test_a_recipe_passes_its_numbers_to_the_optimizer():
    """Each number reaches momentum_sgd; clipping reaches those without it."""
    start, grad = jnp.array([1.0, -2.0]), jnp.array([30.0, 40.0])  # of norm 50

    def two_steps(recipe, **numbers):
        tx = recipe_lib.optimizer(recipe, recipe_lib.Numbers(**numbers), 0.1)
        params, state = start, tx.init(start)
        for _ in range(2):
            updates, state = tx.update(grad, state, params)
            params = optax.apply_updates(params, updates)
        return np.asarray(params)

    def by_hand(clip, decay, momentum, nesterov):
        w, m = np.array([1.0, -2.0]), 0
        for _ in range(2):
            g = np.array([30.0, 40.0]) * min(1, clip / 50) + decay * w
            m = momentum * m + g
            w = w - 0.1 * (g + momentum * m if nesterov else m)
        return w

    sgd = recipe_lib.Recipe()
    for numbers, wanted in (
        ({}, (5, 3e-4, 0.9, False)),
        ({"weight_decay": 0.1}, (5, 0.1, 0.9, False)),
        ({"momentum": 0.5}, (5, 3e-4, 0.5, False)),
        ({"clip_norm": 2.0}, (2, 3e-4, 0.9, False)),
        ({"clip_norm": 0.0}, (math.inf, 3e-4, 0.9, False)),
    ):
        np.testing.assert_allclose(two_steps(sgd, **numbers), by_hand(*wanted), 1e-5)
    nesterov = recipe_lib.Recipe(nesterov=True)
    np.testing.assert_allclose(two_steps(nesterov), by_hand(5, 3e-4, 0.9, True), 1e-5)
    plain = recipe_lib.Recipe(optimizer=lambda rate: optax.sgd(rate))
    clipped = by_hand(2, 0, 0, False)
    np.testing.assert_allclose(two_steps(plain, clip_norm=2.0), clipped, 1e-5)
    np.testing.assert_allclose(
        two_steps(plain, clip_norm=0.0), by_hand(99, 0, 0, False), 1e-5
    )


@pytest.mark.parametrize(
    "recipe, numbers, words",
    [
        (
            {"optimizer": "adamw"},
            {"momentum": 0.8},
            "momentum must be left out",
        ),
        ({"optimizer": "lion", "nesterov": True}, {}, "nesterov must be left out for"),
        (
            {"optimizer": functools.partial(optimizers.adamw, weight_decay=0.2)},
            {"weight_decay": 0.1},
            "weight_decay must be given once, got 0.1 and 0.2",
        ),
        ({"optimizer": "sgd"}, {}, "got 'sgd'. Did you mean 'momentum_sgd'?"),
    ],
)
def test_numbers_that_an_optimizer_does_not_read_are_refused(recipe, numbers, words):
    """Nothing is ignored."""
    with pytest.raises((ValueError, KeyError)) as error:
        recipe_lib.optimizer(
            recipe_lib.Recipe(**recipe), recipe_lib.Numbers(**numbers), 0.1
        )
    assert words in str(error.value)


def test_the_settings_are_those_of_the_recipe():
    """Every number and piece of a recipe has a setting with the same default."""
    settings = recipes.RecipeSettings()
    assert recipes.recipe(settings) == recipe_lib.Recipe()
    assert recipes.numbers(settings) == recipe_lib.Numbers()


def train(epochs=4, *, seeds=None, traced=False, splits=None, **how):
    """Trains the linear network; returns its last state."""
    splits = splits or (images(24), images(12, seed=1))
    if traced:
        how = {name: jnp.float32(value) for name, value in how.items()}
    made = scratch.trainer(
        linear(), optimizer=optimizers.momentum_sgd(0.3), augment=AUGMENT,
        num_epochs=epochs, **how,
    ) if traced else None  # fmt: skip
    if traced:
        program = program_lib.program(
            made.init,
            lambda key, clock, state, batches: made.step(key, clock, state, batches[0]),
            metrics=scratch.METRICS, num_examples=(24,), batch_size=8,
            num_epochs=epochs,
        )  # fmt: skip
    else:
        program = scratch.training(
            linear(), optimizer=optimizers.momentum_sgd(0.3), augment=AUGMENT,
            num_examples=24, batch_size=8, num_epochs=epochs, num_seeds=seeds, **how,
        )  # fmt: skip
    ended = []
    state, _ = program_lib.run(
        program,
        program.init(jax.random.key(0)),
        splits,
        observe=lambda step, state, metrics, end: ended.append((step, metrics)),
    )
    return state.inner, ended


def test_traced_numbers_train_as_python_numbers_do():
    """Smoothing, mixup, moving average; off is off, traced or not."""
    for how in (
        dict(label_smoothing=0.1, mixup=0.3, ema_decay=0.9, drop_path_rate=0.1),
        dict(label_smoothing=0.0, drop_path_rate=0.0),
    ):
        old, new = train(**how)[0], train(**how, traced=True)[0]
        kept = zip(*map(jax.tree.leaves, map(scratch.trained, (old, new))), strict=True)
        for a, b in kept:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_average_holds_weights_and_statistics_and_is_kept():
    """The mean of the weights after each step, by a decay near 1."""
    state, _ = train(2, ema_decay=0.999999)
    assert state.average.count == 6
    params, stats = scratch.trained(state)
    assert params is state.average.params
    plain, _ = train(2)
    np.testing.assert_array_equal(plain.params["w"], state.params["w"])
    assert scratch.trained(plain)[0] is plain.params
    # batches of 8 of 24 images: the mean statistic of each epoch is that of all images
    np.testing.assert_allclose(stats["mean"], images(24)[0].mean(), atol=1e-5)
    assert abs(float(state.stats["mean"] - stats["mean"])) > 1e-3


def test_patience_keeps_the_best_epoch():
    """Scripted accuracies: the best epoch's weights, the first of equals."""
    script = [0.2, 0.5, 0.4, 0.5, 0.3, 0.9]
    state = patience.start({"w": jnp.float32(0)}, patience=3)
    over = []
    for epoch, accuracy in enumerate(script, start=1):
        weights = {"w": jnp.float32(epoch)}
        state = patience.noted(
            state, jnp.int32(epoch), jnp.float32(accuracy), weights, patience=3
        )
        over.append(bool(patience.is_over(state, 3)))
    assert over == [False, False, False, False, True, True]
    assert state.best_epoch == 2 and state.kept["w"] == 2 and state.epoch == 5
    assert state.best == jnp.float32(0.5)  # .9 came after the end: a seed stays ended
    assert state.score == jnp.float32(0.9)


def test_early_stopping_ends_the_program_and_keeps_its_best_weights():
    """No epoch is better than one whose accuracy is 1 from the start."""
    x, y = images(12, seed=1)
    easy = jnp.zeros_like(x), jnp.zeros_like(y)  # outputs of 0: class 0, accuracy 1
    splits = images(24), easy
    state, seen = train(9, validates=True, patience=2, splits=splits)
    assert [step for step, _ in seen] == [3, 6, 9]
    assert all(m["valid_accuracy"] == 1 for _, m in seen)
    assert state.validation.best_epoch == 1 and state.validation.epoch == 3
    kept = scratch.trained(state)[0]["w"]
    assert (kept != state.params["w"]).any()
    # the weights after the first epoch, from a program that is stopped there
    program = scratch.training(
        linear(), optimizer=optimizers.momentum_sgd(0.3), augment=AUGMENT,
        num_examples=24, batch_size=8, num_epochs=9, validates=True, patience=2,
    )  # fmt: skip
    begun, _ = program.advance(
        program.init(jax.random.key(0)), jnp.int32(0), jnp.int32(3), splits
    )
    np.testing.assert_array_equal(kept, begun.inner.params["w"])


def test_seeds_stop_apart_and_are_as_alone():
    """Each seed keeps its own best epoch, beside others that run on."""
    splits = images(24), images(12, seed=1)
    state, _ = train(6, validates=True, patience=1, seeds=3, splits=splits)
    best = np.asarray(state.validation.best_epoch)
    assert best.shape == (3,)
    assert (np.asarray(state.validation.epoch) - best >= 0).all()
    assert scratch.trained(state)[0]["w"].shape == (3, 4, 3)


@pytest.mark.parametrize(
    "given, words",
    [
        (dict(label_smoothing=1.0), "label_smoothing must be in [0, 1), got 1.0"),
        (dict(ema_decay=-0.1), "ema_decay must be in [0, 1), got -0.1"),
        (dict(mixup=-1.0), "mixup must be at least 0, got -1.0"),
        (dict(patience=2), "patience must come with a validation split, got 2"),
    ],
)
def test_wrong_numbers_are_refused(given, words):
    """Before anything is compiled."""
    with pytest.raises(ValueError) as error:
        train(**given)
    assert words in str(error.value)


@pytest.fixture(scope="module")
def few():
    """Sixty digits of 4x4 pixels."""
    whole = setup.dataset(setup.DataSettings(data="digits", shrink=2))
    return dataclasses.replace(
        whole, x_train=whole.x_train[:200], y_train=whole.y_train[:200],
        x_test=whole.x_test[:40], y_test=whole.y_test[:40],
    )  # fmt: skip


def cell():
    """Returns a NAS-Bench-201 cell of one convolution."""
    space = registry.SPACES["nasbench201"]()
    names = {"nor_conv_1x1": 2, "skip_connect": 1}
    genes = [0] * len(space.sizes)
    genes[3], genes[0] = names["nor_conv_1x1"], names["skip_connect"]
    return space.genotype(genes)


def retrain(folder, dataset, **how):
    """Retrains the cell in a workdir; returns its result."""
    settings = train_scratch.RetrainSettings(
        features=2, layers=1, batch_size=32, epochs=3, auxiliary=False, **how
    )
    with run.open_run(folder) as r:
        return train_scratch.retrain_cell(r, "retrain", cell(), dataset, settings)


def values_of(seeds):
    """Returns mean and deviation of the test accuracies as they are written."""
    values = [one["test_accuracy"] for one in seeds]
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


@pytest.mark.slow
def test_retraining_reports_validation_and_every_seed(tmp_path, few, capfd):
    """A stopped training of two seeds: figures of each, mean, sd, and what is said."""
    found = retrain(
        tmp_path, few, valid_rate=0.2, early_stopping=1, num_seeds=2, learning_rate=0.0
    )
    seeds = found["seeds"]
    assert [one["seed"] for one in seeds] == [0, 1]
    for name in ("test_accuracy", "valid_accuracy"):
        values = [one[name] for one in seeds]
        assert found[name] == pytest.approx(np.mean(values), abs=1e-6)
        assert found[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    start = f"mean ± standard deviation of 2 seeds: test_accuracy {values_of(seeds)}"
    assert found["verdict"].startswith(start)
    shown = report.RunFiles("a", result=found)
    table = report.seeds_table(shown)
    assert [row[0] for row in table.rows] == [0, 1] and "genotype" not in table.header
    text = capfd.readouterr().err
    assert "seed 1: early stopping ended it after epoch" in text
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert all("valid_accuracy_sd" in line for line in lines)


def test_early_stopping_without_a_validation_split_is_refused(tmp_path, few):
    """With what to add."""
    with pytest.raises(ValueError, match="early_stopping must come with a validation"):
        retrain(tmp_path, few, early_stopping=3)
