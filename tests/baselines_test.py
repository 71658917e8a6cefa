"""Hand-made networks: contract, counts by hand, width by brute force, learning."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import data, networks, registry, testing
from jnas.networks import baselines, hand_made

NAMES = ["plain_cnn", "resnet", "mobilenet_v2"]
SHAPES = [(8, 8, 1), (14, 20, 3), (32, 32, 3), (224, 224, 3)]


@pytest.mark.parametrize("name", list(registry.BASELINES))
def test_contract(name):
    """Also of a baseline that is registered later."""
    testing.check_baseline(name)


def norm(features):
    """Returns the parameters of a norm: scale and bias."""
    return 2 * features


def block(name, number, before, after, halves):
    """Returns the parameters of one block by hand."""
    if name == "plain_cnn":
        return 9 * before * after + norm(after)
    if name == "resnet":
        both = 9 * before * after + 9 * after * after + 2 * norm(after)
        projected = before != after or halves
        return both + (before * after + norm(after) if projected else 0)
    inside = 6 * before if number else before
    expand = before * inside + norm(inside) if number else 0
    return expand + 9 * inside + norm(inside) + inside * after + norm(after)


def by_hand(name, features, num_classes, shape):
    """Counts a baseline's parameters: stem, two blocks a stage, the classifier."""
    # halvings until the shorter side has at most 8 pixels, of which 3 double
    halvings = {8: 1, 14: 1, 32: 2, 224: 5}[min(shape[:2])]
    doublings = min(3, halvings)
    each = [max(1, int(features / 2**i + 0.5)) for i in range(doublings, -1, -1)]
    first, last = each[0], each[-1]
    total = 9 * shape[2] * first + norm(first)
    total += max(0, halvings - doublings - 1) * (9 * first * first + norm(first))
    before, number = first, 0
    for stage, width in enumerate(each):
        for place in range(2):
            total += block(name, number, before, width, stage and not place)
            before, number = width, number + 1
    if name == "mobilenet_v2":
        total += last * 4 * last + norm(4 * last)
        last *= 4
    return total + last * num_classes + num_classes


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_parameters_by_hand(name, shape):
    """At widths that halve evenly, and at one that is rounded."""
    for features in (1, 11, 16):
        found = baselines.count_of(baselines.Baseline(name, features, 10, shape))
        assert found == by_hand(name, features, 10, shape), features


@pytest.mark.parametrize("parameters", [2_900, 41_000])
@pytest.mark.parametrize("name", NAMES)
def test_fit_by_brute_force(name, parameters):
    """The nearest of all widths that are at most 3 % above."""
    shape = (8, 8, 1)
    counts = {n: by_hand(name, n, 10, shape) for n in range(1, 200)}
    allowed = [n for n, count in counts.items() if count <= 1.03 * parameters]
    best = min(allowed, key=lambda n: abs(counts[n] - parameters))
    assert baselines.fit(name, 10, shape, parameters=parameters).features == best


def test_fit_at_the_edge():
    """Exactly as many as wanted; a little above; one feature is too many."""
    shape, name = (8, 8, 1), "resnet"
    smallest = by_hand(name, 1, 10, shape)
    exact = baselines.fit(name, 10, shape, parameters=by_hand(name, 70, 10, shape))
    assert exact.features == 70
    assert baselines.fit(name, 10, shape, parameters=smallest - 1).features == 1
    message = f"parameters must be at least {smallest} for the baseline resnet"
    with pytest.raises(ValueError, match=message):
        baselines.fit(name, 10, shape, parameters=smallest // 2)


LEFT = {1: 1, 2: 1, 4: 2, 8: 4, 9: 5, 14: 7, 28: 7, 64: 8, 224: 7}  # by hand


def test_halvings_follow_the_images():
    """At most 8 pixels are left, and at least one halving where there are two."""
    for side, left in LEFT.items():
        stem, doubling = hand_made.stages((side, 2 * side, 3))
        assert -(-side // 2 ** (stem + doubling)) == left
        assert doubling == min(3, stem + doubling)


@pytest.mark.parametrize("side", [16, 224])
def test_macs_of_plain_cnn_by_hand(side):
    """Two 3x3 convolutions a stage at the pixels of its size, and the classifier."""
    one = baselines.Baseline("plain_cnn", 8, 10, (side, side, 3))
    found = networks.measure(one.network(), one.image_shape)["macs"]
    if side == 16:  # one stem convolution at 16, stages of 16 and 8 pixels
        stem, each = 16**2 * 3 * 4, {16: (4, 4), 8: (4, 8)}
    else:  # the stem halves twice: 112 and 56
        stem = 112**2 * 3 * 1 + 56**2 * 1
        each = {56: (1, 1), 28: (1, 2), 14: (2, 4), 7: (4, 8)}
    want = stem + sum(n**2 * (a * b + b * b) for n, (a, b) in each.items())
    assert found == 9 * want + 8 * 10


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2"])
def test_drop_path_drops_branches_in_training_alone(name):
    """At a rate near 1 the residual branches of images are gone; never in evaluation.

    A branch that is kept is divided by its probability, so a mean over keys is near.
    """
    network = baselines.Baseline(name, 8, 3, (8, 8, 1)).network()
    params, stats = network.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))

    @jax.jit
    def run(key, rate):
        return network.apply(
            params, stats, x, train=True, key=key, drop_path_rate=rate
        )[0][0]

    keys = jax.random.split(jax.random.key(2), 2)
    plain = network.apply(params, stats, x, train=True)[0][0]
    np.testing.assert_allclose(run(keys[0], 0.0), plain, atol=1e-4)
    assert np.abs(run(keys[0], 0.5) - run(keys[1], 0.5)).max() > 1e-3
    judged = [
        network.apply(params, stats, x, train=False, key=k, drop_path_rate=0.5)[0][0]
        for k in keys
    ]
    np.testing.assert_array_equal(*judged)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_learns_digits(name):
    """200 images of digits, 30 epochs: nearly all of them by running statistics."""
    digits = data.load("digits")
    x = jnp.asarray(digits.x_train[:200], jnp.float32) / 16
    y = jnp.asarray(digits.y_train[:200])
    one = baselines.fit(name, 10, digits.image_shape, parameters=6_000)
    network = one.network()
    params, stats = network.init(jax.random.key(0))
    optimizer = optax.sgd(0.05, momentum=0.9)

    @jax.jit
    def step(carry, batch):
        params, stats, state = carry

        def loss(params):
            (out, _), new = network.apply(params, stats, x[batch], train=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(out, y[batch])
            return losses.mean(), new

        grads, stats = jax.grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), stats, state), None

    keys = jax.random.split(jax.random.key(1), 30)
    rows = jax.vmap(lambda key: jax.random.permutation(key, 200))(keys).reshape(-1, 40)
    carry = params, stats, optimizer.init(params)
    (params, stats, _), _ = jax.jit(lambda c, r: jax.lax.scan(step, c, r))(carry, rows)
    (out, _), _ = network.apply(params, stats, x, train=False)
    assert (out.argmax(-1) == y).mean() > 0.95


def test_json_and_back():
    """Through text; the same network."""
    one = baselines.Baseline("resnet", 12, 5, (16, 12, 3), "bfloat16")
    again = baselines.from_json(json.loads(json.dumps(one.to_json())))
    assert again == one and one.to_json()["kind"] == "baseline"
    assert baselines.count_of(again) == baselines.count_of(one)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"name": "resnets"}, KeyError, "Did you mean 'resnet'"),
        ({"name": 3}, KeyError, "baseline must be one of plain_cnn, resnet"),
        ({"features": 0}, ValueError, "must have positive integers"),
        ({"features": 2.5}, ValueError, "must have positive integers"),
        ({"features": True}, ValueError, "must have positive integers"),
        ({"features": 10**9}, ValueError, "features must be from 1 to 10000"),
        ({"num_classes": 100_001}, ValueError, "num_classes must be from 1"),
        ({"image_shape": [8, 8]}, ValueError, "3 of image_shape"),
        ({"image_shape": 8}, ValueError, "image_shape must be a list"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of float32, bfloat16"),
        ({"kind": "cells"}, ValueError, "Correct 'its kind'"),
        ({"width": 3}, ValueError, "Correct 'width'"),
    ],
)
def test_foreign_descriptions_are_refused(changed, error, message):
    """By name, in one line, before anything is built."""
    values = baselines.Baseline("resnet", 12, 5, (16, 12, 3)).to_json() | changed
    with pytest.raises(error, match=message) as info:
        baselines.from_json(values)
    assert "\n" not in str(info.value)


def test_a_field_that_is_missing():
    """Named."""
    values = baselines.Baseline("resnet", 12, 5, (16, 12, 3)).to_json()
    del values["features"]
    with pytest.raises(ValueError, match="Correct 'features'"):
        baselines.from_json(values)


def test_bfloat16_changes_little():
    """Outputs stay float32 and near to those of float32."""
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    outputs = []
    for dtype in ("float32", "bfloat16"):
        network = baselines.Baseline("plain_cnn", 8, 3, (8, 8, 1), dtype).network()
        params, stats = network.init(jax.random.key(0))
        outputs.append(network.apply(params, stats, x, train=True)[0][0])
    assert {out.dtype for out in outputs} == {jnp.dtype("float32")}
    gap = np.abs(outputs[0] - outputs[1]).max()
    assert 0 < gap < 0.1 * np.abs(outputs[0]).max()
