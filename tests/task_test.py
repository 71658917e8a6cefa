"""Tasks: their losses and metrics against plain loops, and data that do not fit."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, registry, types
from jnas.data import batches, task_lookup
from jnas.data import task as task_lib
from jnas.data import validate as validate_lib

RNG = np.random.default_rng(0)


def of(name, targets, **how):
    """Builds a task for some targets."""
    return task_lookup.build(name, task_lib.describe(np.asarray(targets), **how))


def measured(task, name, outputs, targets):
    """Returns a metric of all examples."""
    metric = task.metric(name)
    return float(metric.over(metric.each(jnp.asarray(outputs), jnp.asarray(targets))))


def test_classification_is_cross_entropy_and_accuracy():
    """Against loops over classes."""
    task = of("classification", [0, 2, 1], num_classes=3)
    outputs, labels = RNG.normal(size=(7, 3)).astype("f4"), RNG.integers(0, 3, 7)
    wanted = [
        -row[label] + math.log(sum(math.exp(x) for x in row))
        for row, label in zip(outputs.tolist(), labels, strict=True)
    ]
    np.testing.assert_allclose(task.loss(outputs, labels), wanted, rtol=1e-5)
    assert measured(task, None, outputs, labels) == pytest.approx(
        np.mean(outputs.argmax(1) == labels)
    )
    assert (task.num_outputs, task.signal) == (3, "accuracy")


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_regression_is_standardised_and_measured_in_its_own_unit(shape):
    """Against NumPy in float64."""
    y = (100 + 20 * RNG.normal(size=(50, *shape))).astype("f4")
    task = of("regression", y)
    flat = y.reshape(50, -1).astype(np.float64)
    mean, std = flat.mean(0), flat.std(0)
    outputs = RNG.normal(size=flat.shape).astype("f4")
    wanted = ((outputs - (flat - mean) / std) ** 2).mean(1)
    np.testing.assert_allclose(task.loss(outputs, y), wanted, rtol=1e-4, atol=1e-6)
    told = outputs * std + mean
    answer = task.answer(outputs)["value"]
    np.testing.assert_allclose(answer, told.reshape(50, *shape), rtol=1e-5)
    left, whole = ((flat - told) ** 2).sum(0), ((flat - mean) ** 2).sum(0)
    assert measured(task, "r2", outputs, y) == pytest.approx(
        (1 - left / whole).mean(), rel=1e-4
    )
    error = ((flat - told) ** 2).mean()
    assert measured(task, "mean_squared_error", outputs, y) == pytest.approx(
        error, rel=1e-4
    )
    # R2 is that of the examples that are measured, not of the training targets
    part = slice(0, 7)
    left = ((flat[part] - told[part]) ** 2).sum(0)
    whole = ((flat[part] - flat[part].mean(0)) ** 2).sum(0)
    assert measured(task, "r2", outputs[part], y[part]) == pytest.approx(
        (1 - left / whole).mean(), rel=1e-3
    )


def test_r2_of_the_mean_is_zero():
    """Guessing reaches it."""
    y = np.array([1.0, 2, 3, 4], np.float32)
    task = of("regression", y)
    assert measured(task, "r2", np.zeros((4, 1)), y) == pytest.approx(0, abs=1e-6)
    assert task.guess(y)[0] == 0


@pytest.mark.parametrize("compiled", [lambda f: f, jax.jit])
@pytest.mark.parametrize("value", [0.1, 1.7, 123.4])
def test_r2_leaves_out_a_number_that_is_constant(compiled, value):
    """Whose mean is rounded; beside one that is not."""
    numbers = RNG.normal(size=400)
    task = of("regression", np.stack([numbers, numbers], 1))
    y = np.stack([numbers, np.full(400, value)], 1).astype("f4")
    metric = task.metric("r2")
    outputs = jnp.asarray(task.loss(np.zeros((400, 2)), y))[:, None] * np.ones((1, 2))
    outputs = outputs.at[:, 0].set((numbers - numbers.mean()) / numbers.std())
    found = compiled(lambda o, y: metric.over(metric.each(o, y)))
    assert float(found(outputs, y)) == pytest.approx(1, abs=1e-4)
    assert float(found(outputs, 0 * y + value)) == 0  # nothing is left


def test_a_step_has_the_signal_of_a_batch_of_ordinary_deviation():
    """1 - loss, whatever the batch holds; an epoch's mean is near that of the whole."""
    y = np.concatenate([RNG.normal(size=990), 1000 + RNG.normal(size=10)]).astype("f4")
    task = of("regression", y)
    outputs = np.full((64, 1), 0.0, np.float32)
    assert float(task.score(outputs, y[:64])) < 0
    loss = float(task.loss(outputs, y[:64]).mean())
    assert float(task.batch_score(outputs, y[:64])) == pytest.approx(1 - loss)
    there = (RNG.random((64, 3)) < 0.3).astype("f4")
    task = of("multilabel", there)  # whose batches have their own precision
    outputs = RNG.normal(size=(64, 3))
    assert task.batch_score(outputs, there) == task.score(outputs, there)


def test_orders_at_random_are_those_of_guessing():
    """Most networks that learned nothing are below; one that did is above."""
    there = (RNG.random((200, 4)) < [0.5, 0.3, 0.1, 0.05]).astype("f4")
    task = of("multilabel", there)
    most, why = task.guess(there)
    found = [
        measured(task, None, RNG.normal(size=there.shape), there) for _ in range(50)
    ]
    assert np.mean(np.array(found) <= most) > 0.9 and "at random" in why
    assert measured(task, None, there + RNG.normal(size=there.shape), there) > most
    assert task.guess(0 * there)[0] == 0


def average_precision(outputs, there):
    """By thresholds: the sum of (R_n - R_(n-1)) P_n over distinct outputs."""
    total, before, found = sum(there), 0.0, 0.0
    for level in sorted(set(outputs), reverse=True):
        given = [t for o, t in zip(outputs, there, strict=True) if o >= level]
        recall, precision = sum(given) / total, sum(given) / len(given)
        found += (recall - before) * precision
        before = recall
    return found


@pytest.mark.parametrize("ties", [False, True])
def test_multilabel_is_a_sigmoid_each(ties):
    """Against loops over labels and thresholds, with equal outputs too."""
    there = (RNG.random((40, 5)) < 0.3).astype("f4")
    there[:, 4] = 0  # a label that no example has
    there[0, :4] = 1
    outputs = RNG.normal(size=there.shape).astype("f4")
    if ties:
        outputs = np.round(outputs)
    task = of("multilabel", there)
    p = 1 / (1 + np.exp(-outputs.astype(np.float64)))
    wanted = -(there * np.log(p) + (1 - there) * np.log(1 - p)).mean(1)
    np.testing.assert_allclose(task.loss(outputs, there), wanted, rtol=1e-4)
    each = [
        average_precision(outputs[:, k].tolist(), there[:, k].tolist())
        for k in range(4)
    ]
    assert measured(task, "mean_average_precision", outputs, there) == pytest.approx(
        np.mean(each), rel=1e-5
    )
    values = []
    for k in range(5):
        given, own = p[:, k] > 0.5, there[:, k] > 0.5
        if given.any() or own.any():
            values.append(2 * (given & own).sum() / (given.sum() + own.sum()))
    assert measured(task, "f1", outputs, there) == pytest.approx(
        np.mean(values), rel=1e-5
    )
    np.testing.assert_allclose(
        task.smoothing(outputs, there, 0.2),
        task.loss(outputs, 0.8 * there + 0.1),
        rtol=1e-5,
    )


def test_metrics_of_examples_with_nothing_are_finite():
    """No label is there, none is given."""
    task = of("multilabel", np.array([[0, 1.0], [1, 0]]))
    none = np.zeros((3, 2), np.float32)
    for name in task.metrics:
        assert measured(task, name, none - 1, none) == 0


def test_losses_have_the_gradient_of_differences():
    """Central differences in float64."""
    there = (RNG.random((4, 3)) < 0.5).astype("f8")
    numbers = RNG.normal(size=(4, 3))
    with jax.enable_x64(True):
        for task, y in (
            (of("regression", numbers), numbers),
            (of("multilabel", there), there),
        ):
            x = jnp.asarray(RNG.normal(size=(4, 3)))

            def total(x, task=task, y=y):
                return task.loss(x, y).sum()

            found = np.asarray(jax.grad(total)(x))
            step = 1e-6
            for i, j in np.ndindex(4, 3):
                moved = step * jnp.zeros((4, 3)).at[i, j].set(1)
                slope = (total(x + moved) - total(x - moved)) / (2 * step)
                assert found[i, j] == pytest.approx(float(slope), rel=1e-3, abs=1e-6)


def test_targets_are_read_as_they_were_written():
    """And foreign values are refused."""
    for targets in (
        task_lib.describe(np.array([[1.0, 2], [3, 5]], np.float32), ("a", "b")),
        task_lib.describe(np.array([0, 1], np.int32), ("a", "b"), 2),
        task_lib.describe({"a": np.zeros(3)}),
    ):
        written = json.loads(json.dumps(targets.to_json()))
        assert task_lib.targets_from_json(written) == targets
    good = task_lib.describe(np.array([1.0, 2, 4], np.float32)[:, None]).to_json()
    assert task_lib.targets_from_json(good).size == 1
    for broken in (
        None,
        {},
        written | {"mean": "a"},
        written | {"num_classes": True},
        good | {"std": [0.0]},
        good | {"std": [-1.0]},
        good | {"mean": [math.nan]},
        good | {"mean": [1.0, 2.0], "std": [1.0, 1.0]},
        good | {"shape": [3]},
        good | {"shape": [-1]},
        good | {"whole": 1},
    ):
        with pytest.raises(ValueError, match="targets must be an object"):
            task_lib.targets_from_json(broken)


def validate(x, y, **how):
    """Makes a data set of which a quarter is the test split."""
    n = len(y) * 3 // 4
    return validate_lib.validate(x[:n], y[:n], x[n:], y[n:], name="mine", **how)


PARTS = slice(0, 15), slice(15, 20)
VECTORS = RNG.normal(size=(20, 6)).astype(np.float32)
NUMBERS = RNG.normal(size=20)


@pytest.mark.parametrize(
    "y, how, message",
    [
        (NUMBERS, {}, "must be integers .N., got float64"),
        (NUMBERS, {"task": "regresion"}, "Did you mean 'regression'"),
        (NUMBERS, {"task": "multilabel"}, "must be 0 and 1 as floats"),
        (np.ones(20), {"task": "regression"}, "must hold targets that differ"),
        (NUMBERS[:, None] * [1, np.nan], {"task": "regression"}, "must be finite"),
        (NUMBERS * 1e33, {"task": "regression"}, "must be at most 1e[+]30"),
        (np.array(["a"] * 20), {"task": "regression"}, "must be numbers"),
        (
            np.tile([[0.0, 2.0]], (20, 1)) + np.eye(20, 2),
            {"task": "multilabel"},
            "0 to 3 as floats",
        ),
        (
            np.clip(np.eye(20, 2), 0.3, 1),
            {"task": "multilabel"},
            "got fractions from 0.3 to 1 as floats",
        ),
        (1.7e9 + np.arange(20), {"task": "regression"}, "Subtract an offset"),
        (np.arange(20) + 3, {}, "or use --task=regression for numbers"),
        (
            np.eye(20, 2),
            {"task": "multilabel", "class_names": ["a"]},
            "must name each of the 2 numbers",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused(y, how, message):
    """In one line, before anything runs."""
    with pytest.raises((ValueError, KeyError), match=message):
        validate(VECTORS, y, inputs="vectors", **how)


def test_constant_numbers_are_no_coarse_ones():
    """Of which float64 has a deviation by rounding alone."""
    y = np.stack([NUMBERS, np.full(20, 0.1)], 1)
    made = validate(VECTORS, y, inputs="vectors", task="regression")
    assert made.targets.std[1] == 1


def test_class_numbers_are_numbers_where_the_task_reads_floats():
    """Without the names of classes, which is said."""
    labels = np.arange(20) % 3
    how = {"inputs": "vectors", "class_names": ["a", "b", "c"]}
    made = validate(VECTORS, labels, task="regression", **how)
    assert made.y_train.dtype == np.float32 and not made.class_names
    assert "read as numbers" in made.notes[-1]
    assert validate(VECTORS, labels, **how).num_classes == 3
    how["class_names"] = ["price"]
    made = validate(VECTORS, labels, task="regression", **how)
    assert made.class_names == ("price",) and not made.notes


@pytest.fixture
def own(monkeypatch):
    """Registers tasks for one test."""
    monkeypatch.setattr(registry.TASKS, "_entries", dict(registry.TASKS._entries))
    return registry.TASKS


@pytest.mark.parametrize(
    "loss, message",
    [
        (lambda o, y: ((o - y) ** 2).mean(-1), "of each example by itself"),
        (lambda o, y: ((o[:, 0] - y) ** 2).mean(), "of each example by itself"),
        (lambda o, y: ((o - y.reshape(-1, 3)) ** 2).mean(-1), "got TypeError: "),
        (lambda o, y: o[:, 0] - y["a"], "got .*Error: "),
        (lambda o, y: 1.0, "of each example by itself"),
        (lambda o, y: jnp.asarray(np.asarray(o)[:, 0]), "got TracerArray"),
        (lambda o, y: (o[:, 0] - y) ** 2, ""),
    ],
)
def test_a_loss_that_mixes_examples_is_refused(own, loss, message):
    """As that of outputs [B, 1] and targets [B], which broadcast to [B, B]."""
    own.register(name="mine")(
        lambda targets: data.Task(1, loss, {"closeness": lambda o, y: -loss(o, y)})
    )
    if not message:
        assert validate(VECTORS, NUMBERS, inputs="vectors", task="mine").num_outputs
        return
    equal = np.where(np.arange(20) < 9, NUMBERS[0], NUMBERS)
    for y in (NUMBERS, equal):  # the first ones say nothing
        with pytest.raises(ValueError, match=f"task mine must have a loss.*{message}"):
            validate(VECTORS, y, inputs="vectors", task="mine")
    made = validate(VECTORS, NUMBERS, inputs="vectors", task="regression")
    with pytest.raises(ValueError, match="task mine must have a loss"):
        made.as_task("mine")


def test_how_a_task_reads_integers_is_its_own(own):
    """A misspelt way is refused, and the message of gaps names it."""

    @own.register
    def counts(targets):
        def loss(outputs, y):
            y = y.reshape(outputs.shape)
            return (jnp.exp(outputs) - y * outputs).mean(-1)

        return data.Task(1, loss, {"likelihood": lambda o, y: -loss(o, y)})

    numbers = np.arange(20) + 3
    with pytest.raises(ValueError, match='set counts.reads = "floats" for numbers'):
        validate(VECTORS, numbers, inputs="vectors", task="counts")
    counts.reads = "floats"
    made = validate(VECTORS, numbers, inputs="vectors", task="counts")
    assert made.targets.high == 17 and not made.num_classes
    counts.reads = "float"
    with pytest.raises(ValueError, match='counts.reads must be "classes" or "floats"'):
        validate(VECTORS, numbers, inputs="vectors", task="counts")


def test_images_are_shifted_for_classes_alone(own):
    """Where something is may be what is asked; a flag shifts them all the same."""
    made = data.load("ellipses")
    for augment in (data.for_search(made), data.for_training(made)):
        assert augment.padding == (0, 0) and not augment.flip and not augment.cutout
    assert data.for_training(made, crop_padding=2).padding == (2, 2)
    assert data.for_training(made, policy="standard").cutout == 8
    assert data.for_training(data.load("digits")).cutout == 4

    @own.register
    def own_images(targets):
        task = registry.TASKS["regression"](targets)
        return task._replace(prepare=lambda key, x: x / 255)

    made = made.as_task("own_images")
    assert callable(data.for_training(made)) and callable(data.for_search(made))
    for how in ({"flip": True}, {"cutout": 2}, {"crop_padding": 1}):
        with pytest.raises(ValueError, match="own_images, which prepares images"):
            data.for_training(made, **how)
    with pytest.raises(ValueError, match="augment must be left out"):
        data.for_search(made, policy="standard")


def test_a_test_split_of_other_targets_is_refused():
    """Of other values or another shape."""
    there = np.eye(20, 2, dtype=np.float32)
    there[-1] = 3
    with pytest.raises(ValueError, match="y_test of mine: targets must be 0 and 1"):
        validate(VECTORS, there, inputs="vectors", task="multilabel")
    with pytest.raises(ValueError, match="y_test of mine must match y_train"):
        validate_lib.validate(
            VECTORS, NUMBERS, VECTORS, NUMBERS[:, None].repeat(2, 1), name="mine",
            inputs="vectors", task="regression",
        )  # fmt: skip


@pytest.mark.parametrize(
    "x, how, message",
    [
        (VECTORS, {}, "must be .N, H, W, C. or .N, H, W.*--inputs=vectors"),
        (VECTORS, {"inputs": "series"}, "must be .N, L, C. for the inputs series"),
        (VECTORS, {"inputs": "vector"}, "inputs must be one of images, series"),
        (VECTORS, {"inputs": "arrays"}, "must be a dict of arrays"),
        (VECTORS.astype("f8"), {"inputs": "vectors"}, "astype.np.float32"),
        (VECTORS * np.nan, {"inputs": "vectors"}, "must be finite"),
        (VECTORS * 0, {"inputs": "vectors"}, "must hold inputs that differ"),
        ({"a": VECTORS}, {"inputs": "vectors"}, "inputs must be arrays for mine"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x, how, message):
    """In one line, before anything runs."""
    with pytest.raises(ValueError, match=message):
        train, test = (jax.tree.map(lambda a, part=part: a[part], x) for part in PARTS)
        validate_lib.validate(
            train, NUMBERS[:15], test, NUMBERS[15:], name="mine", task="regression",
            **how,
        )  # fmt: skip


def test_several_inputs_and_targets_are_trees(tmp_path, own):
    """From an npz file whose arrays are named x_train/NAME."""

    @own.register(name="pair_of_targets")
    def build(targets):
        assert targets == task_lib.Targets()

        def loss(outputs, y):
            return (outputs[:, 0] - y["a"]) ** 2 + (outputs[:, 1] - y["b"]) ** 2

        return data.Task(2, loss, {"closeness": lambda o, y: -loss(o, y)})

    split = {
        "x": {"a": VECTORS, "b": np.arange(20, dtype=np.int32)},
        "y": {"a": NUMBERS, "b": -NUMBERS},
    }
    path = tmp_path / "several.npz"
    np.savez(
        path,
        **{
            f"{key}_{part}/{name}": array
            for key, tree in split.items()
            for part in ("train", "test")
            for name, array in tree.items()
        },
    )
    made = data.load(f"npz:{path}", task="pair_of_targets")
    assert made.inputs == "arrays" and made.task.signal == "closeness"
    assert made.image_shape == {"a": (6,), "b": ()}
    assert isinstance(made.image_shape["b"], types.Whole)
    assert made.summary()["num_train"] == 20 and len(made.digest) == 64
    augment = data.for_search(made)
    taken = batches.take(made.x_train, made.y_train, np.array([3, 1]))
    x = data.normalise(taken[0], augment)
    np.testing.assert_allclose(x["a"].mean(0).shape, (6,))
    np.testing.assert_array_equal(x["b"], [3, 1])  # integers stay
    np.testing.assert_allclose(taken[1]["b"], -NUMBERS[[3, 1]].astype("f4"))
    with pytest.raises(ValueError, match="cutout must be left out for arrays"):
        data.for_search(made, cutout=2)
    with pytest.raises(ValueError, match="y_train of mine, b, must fit int32"):
        y = {"a": NUMBERS, "b": np.full(20, 2**31)}
        validate_lib.validate(
            VECTORS, y, VECTORS, y, name="mine", inputs="vectors",
            task="pair_of_targets",
        )  # fmt: skip


def test_a_split_without_classes_is_random_and_whole():
    """A function of the seed."""
    made = validate(VECTORS, NUMBERS, inputs="vectors", task="regression")
    first, second = data.two_parts(0, made, 0.4)
    assert sorted([*first, *second]) == list(range(15)) and len(second) == 6
    again = data.two_parts(0, made, 0.4)
    assert all((a == b).all() for a, b in zip((first, second), again, strict=True))
    with pytest.raises(ValueError, match="at least one example"):
        data.two_parts(0, made, 0.01)


@pytest.mark.parametrize("name", ["ellipses", "shapes", "waves", "friedman"])
def test_generated_sets_are_the_same_each_time(name):
    """They are a function of a fixed key."""
    first, second = data.load(name), data.load(name)
    assert first.digest == second.digest
    assert first.summary()["num_train"] == 1600 and len(first.x_test) == 400


def test_a_task_must_have_a_signal_that_rises(own):
    """And the function must return a task."""

    @own.register(name="falls")
    def falls(targets):
        return data.Task(1, lambda o, y: o[:, 0], {"error": lambda o, y: o[:, 0]})

    @own.register(name="nothing")
    def nothing(targets):
        return None

    @own.register(name="breaks")
    def breaks(targets):
        return targets.shape[0]

    every = {"falls": ValueError, "nothing": TypeError, "breaks": ValueError}
    for name, error in every.items():
        with pytest.raises(error, match=f"task {name} must"):
            task_lookup.build(name, task_lib.Targets())


def test_smoothing_without_classes_is_refused():
    """Numbers have nothing to smooth."""
    task = of("regression", NUMBERS)
    with pytest.raises(ValueError, match="label_smoothing must be 0 for a task of r2"):
        task.smoothing(jnp.zeros((2, 1)), jnp.zeros(2), 0.1)
