"""The contracts of jnas/testing.py over the registries: a new entry is covered here."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from jnas import data, gradient, networks, ops, registry, spaces, testing

# of each family of inverted residuals some; the others differ in their numbers alone
FEW = {"mbconv_3x3_e1", "mbconv_3x3_e3", "mbconv_5x5_e6_se", "ir_k3_e1_g2", "mb6_k5"}


def inverted(name):
    """Whether an operation is an inverted residual that FEW stands for."""
    return name.startswith(("mbconv", "ir_k", "mb3", "mb6")) and name not in FEW


@pytest.mark.parametrize("name", [n for n in registry.OPERATIONS if not inverted(n)])
def test_operations(name):
    """Every operation keeps its contract."""
    testing.check_operation(name)


@pytest.mark.parametrize("name", list(registry.RELAXATIONS))
def test_relaxations(name):
    """Every relaxation keeps its contract."""
    testing.check_relaxation(name)


@pytest.mark.parametrize("name", list(registry.PERTURBATIONS))
def test_perturbations(name):
    """Every perturbation keeps its contract."""
    testing.check_perturbation(name)


@pytest.mark.parametrize("name", list(registry.REGULARIZERS))
def test_regularizers(name):
    """Every regularizer keeps its contract."""
    testing.check_regularizer(name)


@pytest.mark.parametrize("name", list(registry.OPTIMIZERS))
def test_optimizers(name):
    """Every optimiser keeps its contract."""
    testing.check_optimizer(name)


@pytest.mark.parametrize("name", list(registry.SELECTIONS))
def test_selections(name):
    """Every selection keeps its contract."""
    testing.check_selection(name)


@pytest.mark.parametrize("name", list(registry.CONTROLLERS))
def test_controllers(name):
    """Every controller keeps its contract."""
    testing.check_controller(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in registry.OPERATIONS if inverted(n)])
def test_the_other_inverted_residuals(name):
    """Every operation keeps its contract."""
    testing.check_operation(name)


LARGE = ("fbnet", "fbnet_a", "proxyless")  # a minute of compiling


@pytest.mark.parametrize("name", [n for n in registry.SPACES if n not in LARGE])
def test_spaces(name):
    """Every space keeps its contract."""
    testing.check_space(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fbnet", "proxyless"])
def test_large_spaces(name):
    """Every space keeps its contract."""
    testing.check_space(name)


@pytest.mark.parametrize("name", list(registry.DATASETS))
def test_datasets(name):
    """Every embedded data set keeps its contract."""
    testing.check_dataset(name)


@pytest.mark.parametrize("name", list(registry.TASKS))
def test_tasks(name):
    """Every task keeps its contract, on the first data set that is of it."""
    of = (n for n, load in registry.DATASETS.items() if load().task_name == name)
    testing.check_task(name, next(of))


def test_broken_tasks_are_found(monkeypatch):
    """A loss that reads other examples, a signal that falls, a figure of no shape."""
    entries = dict(registry.TASKS._entries)
    monkeypatch.setattr(registry.TASKS, "_entries", entries)

    def loss(o, y):
        return (o[:, 0] - y[:, 0]) ** 2

    def broken(name, loss, metric):
        registry.TASKS.register(name=name)(
            lambda targets: data.Task(1, loss, {"closeness": metric})
        )

    def near(o, y):
        return -loss(o, y)

    broken("sound", loss, near)
    broken("mixed", lambda o, y: loss(o, y) - loss(o, y).mean() / 2, near)
    broken("fallen", loss, loss)
    broken("flat", lambda o, y: loss(o, y).mean(), near)
    broken("still", lambda o, y: 0 * loss(o, y), near)
    broken("vector", loss, data.Metric(near, lambda each: each))
    broken("batch", loss, data.Metric(near, jnp.mean, lambda each: each))
    testing.check_task("sound", "ellipses")
    for name, rule in {
        "mixed": "a loss f32.* of each example by itself",
        "fallen": "a signal that rises",
        "flat": "a loss f32",
        "still": "have gradients",
        "vector": "have metrics f32",
        "batch": "finite metrics f32.* of a batch",
    }.items():
        with pytest.raises((AssertionError, ValueError), match=rule):
            testing.check_task(name, "ellipses")


def test_methods_name_registered_pieces():
    """A row of pieces names pieces that exist, and says where it is from."""
    for make in registry.METHODS.values():
        gradient.check(make(), spaces.zoo.darts())
        # one paper of NeurIPS has no preprint
        assert any(of in make().source for of in ("arXiv:", "OpenReview:"))
        assert make.__doc__


def test_objective():
    """A function of encodings passes, one of the wrong shape does not."""
    testing.check_objective(lambda key, e: e.sum(-1, keepdims=True), (3, 2))
    with pytest.raises(AssertionError, match=r"objective must give f32\[P, M\]"):
        testing.check_objective(lambda key, e: e.sum(-1), (3, 2))


def test_wrong_operations_are_caught():
    """An operation that keeps its size at stride 2, and one that keeps statistics."""

    def flat(features, stride, *, norm, rngs):
        return ops.Identity()

    def leaky(features, stride, *, norm, rngs):
        return nnx.BatchNorm(features, rngs=rngs)

    saved = dict(registry.OPERATIONS._entries)
    try:
        registry.OPERATIONS.register(flat)
        registry.OPERATIONS.register(leaky)
        with pytest.raises(AssertionError, match="'flat' must map"):
            testing.check_operation("flat")
        with pytest.raises(AssertionError, match="leaky must keep no statistics"):
            testing.check_operation("leaky")
        space = spaces.zoo.tiny().with_operations(("none", "leaky", "skip_connect"))
        with pytest.raises(ValueError, match="'leaky' must keep no statistics"):
            networks.supernet(space, networks.Size(2, 3, 3))
    finally:
        registry.OPERATIONS._entries = saved


def wide(features, stride, *, norm, rngs):
    """A convolution with one feature too many."""
    return ops.Conv(features, features + 1, stride=stride, rngs=rngs)


def unstrided(features, stride, *, norm, rngs):
    """A convolution that ignores the stride."""
    return ops.Conv(features, features, rngs=rngs)


def narrow(features, stride, *, norm, rngs):
    """A convolution that cannot read its input."""
    return ops.Conv(features + 1, features, (3, 3), stride=stride, rngs=rngs)


def rule(name, stride, f, got):
    """The message for f features; got is the end that is known."""
    side = 8 // stride
    return (
        f"operation {name!r} must map f32[2, 8, 8, {f}] to f32[2, {side}, {side}, {f}] "
        f"at stride {stride}, got {got}"
    )


@pytest.mark.parametrize(
    ("make", "stride", "features", "got"),
    [
        (wide, 1, 4, "f32[2, 8, 8, {more}]."),
        (unstrided, 2, 8, "f32[2, 8, 8, {f}]."),
        (narrow, 1, 4, "ValueError: x must have the {more} features of the kernel, "),
    ],
)
def test_an_operation_of_the_wrong_shape_is_named(
    monkeypatch, make, stride, features, got
):
    """Before any network is built: in a supernet, a derived network and the check.

    Features double where a cell has stride 2.
    """

    def message(f):
        return rule(make.__name__, stride, f, got.format(f=f, more=f + 1))

    name, size = make.__name__, networks.Size(4, 3, 3)
    entries = registry.OPERATIONS._entries | {name: make}
    monkeypatch.setattr(registry.OPERATIONS, "_entries", entries)
    space = spaces.zoo.tiny().with_operations((name,))
    genotype = space.genotype([0] * len(space.sizes))
    for build in (
        lambda: networks.supernet(space, size),
        lambda: networks.switched(space, size),
        lambda: networks.derived(genotype, size),
    ):
        with pytest.raises(ValueError, match=re.escape(message(features))) as caught:
            build()
        advice = "Build it with the features and the stride it is given."
        assert str(caught.value).endswith(advice)
    with pytest.raises(AssertionError, match=re.escape(message(4))):
        testing.check_operation(name)


def wrong_pieces():
    """Yields (table, check, a piece that breaks its contract, the rule it breaks)."""

    def centred(key, logits, progress):
        return jax.nn.softmax(logits - logits.mean(-1, keepdims=True))

    def leaky(key, logits, progress):
        return jax.nn.softmax(jnp.maximum(logits, -9.0))

    def flat(key, weights, progress, loss):
        return (weights + 0.1) / (weights + 0.1).sum(-1, keepdims=True)

    def idle(key, weights, progress, loss):
        return weights

    def square(logits, weights, progress):
        return (logits**2).mean()

    def constant(logits, weights, progress):
        return jnp.float32(1)

    def upwards(learning_rate):
        return optax.scale(0.01)

    def lazy(learning_rate):
        return optax.chain(
            optax.masked(optax.set_to_zero(), {"w": False, "b": True}),
            optax.scale_by_learning_rate(learning_rate),
        )

    def static(learning_rate, *, momentum=0.9):
        return optax.sgd(learning_rate, momentum if momentum > 0.5 else None)

    relaxations = registry.RELAXATIONS, testing.check_relaxation
    yield *relaxations, centred, "give finite weights"
    yield *relaxations, leaky, "weigh a logit of -inf by exactly 0"
    perturbations = registry.PERTURBATIONS, testing.check_perturbation
    yield *perturbations, flat, "keep weights of exactly 0"
    yield *perturbations, idle, "move some weights"
    regularizers = registry.REGULARIZERS, testing.check_regularizer
    yield *regularizers, square, "be finite with its gradients"
    yield *regularizers, constant, "depend on the logits"
    optimizers = registry.OPTIMIZERS, testing.check_optimizer
    yield *optimizers, upwards, "lower a quadratic loss"
    yield *optimizers, lazy, "move every parameter"
    yield *optimizers, static, "take traced numbers"


@pytest.mark.parametrize(("table", "check", "piece", "rule"), list(wrong_pieces()))
def test_wrong_pieces_are_caught(table, check, piece, rule, monkeypatch):
    """Each breach is named by its rule."""
    monkeypatch.setattr(table, "_entries", {"wrong": piece})
    with pytest.raises(AssertionError, match=f"wrong must {rule}"):
        check("wrong")


def test_registry_guesses_and_refuses():
    """A miss names the nearest; a second thing of one name is refused."""
    with pytest.raises(KeyError, match="Did you mean 'sep_conv_3x3'"):
        registry.OPERATIONS["sep_conv3x3"]
    table = registry.Registry("thing")
    table.register(lambda: 1, name="a")
    with pytest.raises(ValueError, match="thing must have a new name, got 'a'"):
        table.register(jnp.sin, name="a")
    assert list(table) == ["a"]


def test_an_edited_cell_of_a_notebook_registers_again():
    """Each edit comes from a file of its own; the newest wins there, and only there."""
    table = registry.Registry("thing")

    def define(module, file):
        def mine():
            return file

        mine.__module__ = module
        mine.__code__ = mine.__code__.replace(co_filename=file)
        table.register(mine)

    define("__main__", "cell_1")
    define("__main__", "cell_2")
    assert table["mine"]() == "cell_2"
    table = registry.Registry("thing")
    define("plugin", "one.py")
    with pytest.raises(ValueError, match="thing must have a new name, got 'mine'"):
        define("plugin", "other.py")
