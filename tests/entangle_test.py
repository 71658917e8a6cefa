"""Tests of weight entanglement, against kernels mixed tap by tap."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import gradient, networks, ops, registry
from jnas.gradient import methods
from jnas.networks import count, entangle, functional
from jnas.networks import mixture as mixture_lib
from jnas.spaces import zoo_chains
from jnas.training import program

NAMES = (
    "dil_conv_3x3",
    "none",
    "nor_conv_3x3",
    "dil_conv_5x5",
    "skip_connect",
    "nor_conv_1x1",
)
EDGES = tuple(mixture_lib.Edge(i, i, 2, NAMES) for i in range(2))
FEATURES = 8
# largest member, columns of the members, the sizes of their kernels
FAMILIES = (("dil_conv_5x5", (0, 3), (3, 5)), ("nor_conv_3x3", (2, 5), (3, 1)))
MIXED = 1  # number of the layer, in both, whose kernel is mixed
MEMBERS = {
    (make.family, name): make
    for name, make in registry.OPERATIONS.items()
    if hasattr(make, "family")
}


def build(variant, stride):
    """Makes a mixture of two edges, its parameters, inputs and weights."""
    mixture = mixture_lib.mixture(
        EDGES,
        num_inputs=2,
        num_nodes=1,
        features=FEATURES,
        stride=stride,
        norm=ops.SEARCH,
        normalise=True,
        variant=variant,
    )
    keys = jax.random.split(jax.random.key(3), 3)
    params = program.once(mixture.init)(keys[0])
    inputs = jax.random.normal(keys[1], (2, 3, 4, 4, FEATURES))
    weights = jax.nn.softmax(jax.random.normal(keys[2], (2, len(NAMES))), -1)
    return mixture, params, inputs, weights


def doubled(tree):
    """Returns float64 arrays."""
    return jax.tree.map(lambda a: a.astype(jnp.float64), tree)


def in_centre(tap, size, own):
    """Whether one row or column of a kernel is one of a smaller kernel's."""
    return (size - own) // 2 <= tap < (size + own) // 2


def mix(layer, weights, sizes):
    """Mixes a kernel as the formula is read: member by member, tap by tap."""
    kernel, largest = layer["kernel"], max(sizes)
    mixed = jnp.zeros_like(kernel)
    for weight, own in zip(weights, sizes, strict=True):
        for u in range(largest):
            for v in range(largest):
                if in_centre(u, largest, own) and in_centre(v, largest, own):
                    mixed = mixed.at[u, v].add(weight * kernel[u, v])
    more = {"bias": layer["bias"] * sum(weights)} if "bias" in layer else {}
    return {"kernel": mixed} | more


def one_by_one(params, inputs, weights, *, stride, partial, factor):
    """Computes the node edge by edge: each family by its mixed kernels."""
    node, width = 0, FEATURES // partial
    for edge, x in enumerate(inputs):
        narrow, rest = x[..., :width], x[..., width:]
        own = jax.tree.map(lambda leaf, edge=edge: leaf[edge], params["edges_0"])

        def run(name, own_params, narrow=narrow):
            op = functional.operation(name, width, stride, norm=ops.SEARCH)
            return op.apply(own_params, {}, narrow)[0]

        y = weights[edge, 4] * run("skip_connect", own.get("skip_connect", {}))
        for name, columns, sizes in FAMILIES:
            layers, row = own[name]["layers"], [weights[edge, c] for c in columns]
            mixed = layers | {MIXED: mix(layers[MIXED], row, sizes)}
            y = y + run(name, {"layers": mixed})
        if factor is not None:
            y = y + factor * run("skip_connect", own.get(mixture_lib.AUXILIARY, {}))
        if partial > 1:
            y = jnp.concatenate([y, weights[edge].sum() * rest], -1)
            groups = y.reshape(*y.shape[:-1], partial, width)
            y = groups.swapaxes(-1, -2).reshape(y.shape)
        node = node + y
    return node


@pytest.mark.parametrize(
    ("variant", "factor", "stride"),
    [
        (mixture_lib.EdgeVariant(entangled=True), None, 2),
        (
            mixture_lib.EdgeVariant(entangled=True, partial=2, auxiliary_skip=True),
            0.3,
            1,
        ),
    ],
)
def test_a_family_is_one_operation_of_mixed_kernels(variant, factor, stride):
    """Values and all gradients equal brute force, in float64; so do differences."""
    with jax.enable_x64(True):
        mixture, *given = build(variant, stride)
        args = doubled(tuple(given))
        extra = mixture_lib.VariantInputs(auxiliary_skip=factor)

        def ours(params, inputs, weights):
            return mixture.apply(params, inputs, weights, None, extra)[0]

        def theirs(params, inputs, weights):
            return one_by_one(
                params,
                inputs,
                weights,
                stride=stride,
                partial=variant.partial,
                factor=factor,
            )

        def loss(function, *args):
            node = function(*args)
            return (jnp.sin(node) * jnp.arange(node.size).reshape(node.shape)).sum()

        def both(function):
            grads = jax.grad(lambda *a: loss(function, *a), (0, 1, 2))
            return jax.jit(lambda *a: (function(*a), grads(*a)))(*args)

        (node, grads), (want, want_grads) = both(ours), both(theirs)
        np.testing.assert_allclose(node, want, atol=1e-10)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7),
            grads,
            want_grads,
        )
        params, inputs, weights = args
        moved = jnp.eye(weights.size).reshape(-1, *weights.shape) * 1e-6

        @jax.jit
        @jax.vmap
        def slope(step):
            up, down = (loss(ours, params, inputs, weights + s) for s in (step, -step))
            return (up - down) / 2e-6

        slopes = slope(moved).reshape(weights.shape)
        np.testing.assert_allclose(slopes, grads[2], rtol=1e-6, atol=1e-6)
        assert np.abs(slopes[:, [0, 2, 3, 5]]).min() > 1e-3


def families_of(names, features=4, stride=1, rank=0):
    """Returns the families of some candidates, and one's initial parameters."""
    built = {
        i: functional.operation(n, features, stride, norm=ops.SEARCH)
        for i, n in enumerate(names)
    }
    found = entangle.families(tuple(names), built)
    return found, [family.op.init(jax.random.key(0))[0] for family in found]


@pytest.mark.parametrize("family", sorted({family for family, _ in MEMBERS}))
def test_the_largest_of_a_declared_family_computes_each_member(family):
    """With one weight of 1 it is the member with the cut kernels; with 0 alone, 0."""
    names = [name for own, name in MEMBERS if own == family]
    assert len(names) > 1
    for stride in (1, 2):
        with jax.enable_x64(True):
            (found,), (params,) = families_of(names, stride=stride)
            params = doubled(params)
            assert sorted(found.names) == sorted(names)
            x = jax.random.normal(jax.random.key(1), (2, 6, 5, 4), jnp.float64)
            for number, name in enumerate(found.names):
                mixed = found.mixed(params, jnp.eye(len(names))[number])
                y, _ = found.op.apply(mixed, {}, x)
                own = functional.operation(name, 4, stride, norm=ops.SEARCH)
                want, _ = own.apply(found.cut(params, name), {}, x)
                np.testing.assert_allclose(y, want, atol=1e-12)
            nothing = found.mixed(params, jnp.zeros(len(names)))
            assert not found.op.apply(nothing, {}, x)[0].any()


def test_a_weight_of_zero_leaves_the_cropped_kernel():
    """Bit for bit: w times the taps in the centre, zeros around; others as they are."""
    (found,), (params,) = families_of(["sep_conv_5x5", "skip_connect", "sep_conv_3x3"])
    assert found.columns == (0, 2) and found.name == "sep_conv_5x5"
    weight = np.float32(0.3)
    mixed = found.mixed(params, jnp.array([0, weight]))["layers"]
    for number, layer in params["layers"].items():
        kernel = np.asarray(layer["kernel"])
        if kernel.shape[:2] == (5, 5):
            want = np.zeros_like(kernel)
            want[1:4, 1:4] = kernel[1:4, 1:4] * weight
        else:
            want = kernel
        np.testing.assert_array_equal(mixed[number]["kernel"], want)
    plain = jax.tree.leaves(found.cut(params, "sep_conv_3x3"))
    assert [a.shape[:2] for a in plain] == [(3, 3), (1, 1), (3, 3), (1, 1)]


def convolutions(jaxpr):
    """Counts convolution primitives, in whatever is called, too."""
    total = sum(e.primitive.name in count.CONVOLUTIONS for e in jaxpr.eqns)
    return total + sum(map(convolutions, _inner(jaxpr)))


def _inner(jaxpr):
    for equation in jaxpr.eqns:
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")
        ):
            if hasattr(value, "jaxpr"):
                yield value.jaxpr


@pytest.mark.parametrize(
    ("space", "plain", "entangled"), [("darts", 12, 6), ("nasbench201", 2, 1)]
)
def test_an_edge_computes_one_convolution_for_a_family(space, plain, entangled):
    """DARTS: sep_conv has 2 x 2 convolutions, dil_conv 2, each twice; NB201 two."""
    names = registry.SPACES[space]().candidates
    for variant, want in (
        (mixture_lib.PLAIN, plain),
        (mixture_lib.EdgeVariant(entangled=True), entangled),
    ):
        made = mixture_lib.mixture(
            (mixture_lib.Edge(0, 0, 1, names),),
            num_inputs=1,
            num_nodes=1,
            features=4,
            stride=1,
            norm=ops.SEARCH,
            normalise=True,
            variant=variant,
        )
        (group,) = made.groups
        params = jax.eval_shape(made.init, jax.random.key(0))[group.name]
        one = jax.tree.map(lambda a: jnp.zeros(a.shape[1:]), params)
        traced = jax.make_jaxpr(group.edge_output)(
            one, jnp.ones(len(names)), jnp.ones((2, 4, 4, 4)), (None, None, None)
        )
        assert convolutions(traced.jaxpr) == want


def test_zeros_of_a_family_that_is_computed_have_true_gradients():
    """Of a family without any weight they are the bare numbers of GDAS."""
    sparse, params, inputs, _ = build(
        mixture_lib.EdgeVariant(entangled=True, skip_zeros=True), 1
    )
    plain, *_ = build(mixture_lib.EdgeVariant(entangled=True), 1)
    weights = jax.nn.one_hot(jnp.array([0, 4]), len(NAMES))

    def run(mixture):
        def loss(weights):
            (node,) = mixture.apply(params, inputs, weights)
            return (node**3).sum(), node

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(weights)

    ((_, node), got), ((_, want_node), true) = run(sparse), run(plain)
    np.testing.assert_allclose(node, want_node, atol=1e-5)
    number = (3 * node**2).sum()
    want = np.full(weights.shape, number)
    want[0, [0, 3]] = true[0, [0, 3]]  # dil_conv_3x3 was chosen
    # without parameters it is shared by the edges of a source; its zero is a number
    want[1, 4] = true[1, 4]
    np.testing.assert_allclose(got, want, rtol=1e-3)


def test_members_must_be_one_computation():
    """A registered operation that says it is of a family and is not, in one line."""
    saved = dict(registry.OPERATIONS._entries)
    try:

        @registry.OPERATIONS.register
        @ops.family("sep_conv")
        def mine(features, stride, *, norm, rngs):
            return ops.relu_conv_norm(
                features, features, (3, 3), stride=stride, norm=norm, rngs=rngs
            )

        with pytest.raises(ValueError, match="'mine' and 'sep_conv_3x3' of one family"):
            families_of(["sep_conv_3x3", "mine"])
    finally:
        registry.OPERATIONS._entries.clear()
        registry.OPERATIONS._entries.update(saved)


def test_the_row_and_where_it_is_refused():
    """TangleNAS is DARTS with its numbers but for the kernels; a chain has no edges."""
    row, darts = methods.tanglenas(), methods.darts()
    assert dataclasses.replace(row, entangled=False, source=darts.source) == darts
    assert row.entangled
    with pytest.raises(ValueError, match="entangled must be False for space"):
        gradient.check(row, zoo_chains.tiny_chain())
    with pytest.raises(ValueError, match="entangled must be left out"):
        networks.supernet(
            zoo_chains.tiny_chain(),
            networks.Size(4, 1, 2),
            variant=networks.EdgeVariant(entangled=True),
        )
