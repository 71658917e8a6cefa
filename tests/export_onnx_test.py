"""ONNX files in onnxruntime against jnas: operations, users' functions, networks."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.extend import core
from jax.interpreters import mlir

from jnas import networks, ops, registry
from jnas.export.onnx import file, values
from jnas.networks import functional
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text, published

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

INVERTED = ("mbconv_3x3_e3", "mbconv_5x5_e6_se", "ir_k3_e1_g2", "mb6_k5")
OPERATIONS = [  # of jnas; other tests register their own
    name
    for name, make in registry.OPERATIONS.items()
    if make.__module__.startswith("jnas.")
    and name != "noise"
    # of inverted residuals one of each form
    and (make.__module__ != "jnas.ops.inverted" or name in INVERTED)
]


def images(*shape, seed=0):
    """Draws normal images."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def moved(tree, seed=0):
    """Moves every parameter and statistic from its initial value; positive if it was.

    A running variance stays above 0, and no scale stays 1 nor any mean 0.
    """
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: a + jnp.asarray(0.5 * rng.random(a.shape), a.dtype), tree
    )


def both(function, x):
    """Returns what onnxruntime and JAX compute, and the file's nodes by operator."""
    made = file.model(function, x.shape[1:])
    session = onnxruntime.InferenceSession(made.SerializeToString())
    (got,) = session.run(None, {"image": x})
    counts = collections.Counter(node.op_type for node in made.graph.node)
    return got, np.asarray(jax.jit(function)(x)), counts


def agree(function, x):
    """Asserts that the two agree to 1e-5 (float32 sums in another order)."""
    got, want, counts = both(function, x)
    scale = max(1.0, np.abs(want).max())
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * scale)
    return counts


def test_angles_are_those_of_atan2():
    """In all quarters and on the axes."""
    at = np.array([-2.0, -1, 0, 1, 3], np.float32)
    x = np.stack(np.meshgrid(at, at), -1).reshape(5, 5, 1, 2)
    agree(lambda x: jnp.arctan2(x[..., 0], x[..., 1]), x)
    agree(lambda x: jnp.arctan2(x[..., 0] + 0.5, -0.0 * abs(x[..., 1])), x)
    agree(lambda x: jnp.arctan2(x[:, 0, 0, 0], 1 + 0 * x[:, 1, 0, 1]), x)


def flat(x):
    """Returns [B, everything else]."""
    return x.reshape(x.shape[0], -1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_at_both_strides_and_odd_sizes(name):
    """7x7, 8x8 and 14x14 pixels, with statistics that are not the initial ones."""
    parts = []
    for stride in (1, 2):
        op = functional.operation(name, 4, stride, norm=ops.TRAINING)
        params, stats = moved(jax.jit(op.init)(jax.random.key(stride)))
        parts.append((op, params, stats))

    def every(x):
        # changes no value; from here on images are NCHW, as in a network
        x = ops.dense_conv(x, jnp.eye(4)[None, None])
        cut = [x[:, :n, :n] for n in (7, 8)] + [x]
        found = [
            op.apply(params, stats, each, train=False)[0]
            for op, params, stats in parts
            for each in cut
        ]
        return jnp.concatenate([flat(y) for y in found], 1)

    counts = agree(every, images(2, 14, 14, 4))
    # a gate is a product, with the hard sigmoid's; a shuffle transposes two more times
    assert counts["Mul"] <= (12 if name.endswith("_se") else 0) and not counts["Where"]
    # the image, and each result to be flattened as JAX does
    shuffles = 12 if name.endswith("_g2") else 0
    assert counts["Transpose"] <= 1 + 6 + shuffles + (6 if name.endswith("_se") else 0)


def squeeze_and_excite(x):
    """Weighs features by their own averages."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(4, 2)), rng.normal(size=(2, 4))
    mean = x.mean((1, 2))
    gates = jax.nn.sigmoid(jax.nn.relu(mean @ jnp.float32(first)) @ jnp.float32(second))
    return flat(x * gates[:, None, None, :])


def attention(x):
    """Lets pixels look at each other."""
    tokens = x.reshape(x.shape[0], -1, 4)
    scores = jnp.einsum("bif,bjf->bij", tokens, tokens) / 2
    return flat(jnp.einsum("bij,bjf->bif", jax.nn.softmax(scores), tokens))


def shuffle(x):
    """Shuffles features by groups, then convolves them by groups."""
    b, h, w, f = x.shape
    mixed = x.reshape(b, h, w, 2, f // 2).swapaxes(3, 4).reshape(b, h, w, f)
    kernel = jnp.asarray(images(3, 3, 2, 6, seed=3))
    return flat(
        lax.conv_general_dilated(
            mixed,
            kernel,
            (2, 1),
            ((0, 1), (2, 0)),
            rhs_dilation=(1, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=2,
        )
    )


def steps(x):
    """A loop of a known number of steps, with constants and results of each."""
    weights = jnp.asarray(images(3, 4, 4, seed=4))

    def step(x, weight):
        x = jnp.tanh(x @ weight)
        return x, x.mean((1, 2))

    last, each = lax.scan(step, x, weights, reverse=True)
    return jnp.concatenate([flat(last), flat(each.swapaxes(0, 1))], 1)


def read_twice(x):
    """A convolution and a product with two readers: none changes it for the other."""
    y = ops.dense_conv(x, jnp.asarray(images(3, 3, 4, 4, seed=5)))
    scale = jnp.float32([1, 2, 3, 4])
    z = x * scale * 2.0
    each = [y * scale, jax.nn.relu(y), (y + 1) * scale, z * 3.0, jax.nn.relu(z)]
    return flat(jnp.concatenate(each, -1))


def by_pixel(x):
    """Constants that differ by pixel are no convolution's bias."""
    y = ops.dense_conv(x, jnp.asarray(images(1, 1, 4, 4, seed=6)))
    return flat(y * jnp.arange(x.shape[1], dtype=jnp.float32)[:, None, None])


def pools(x):
    """Flax's own pools, JAX's reductions over windows, halves of the last."""
    one = nnx.avg_pool(x, (2, 2), strides=(2, 2))
    two = nnx.max_pool(x, (3, 3), strides=(1, 1), padding="SAME")
    wide = ((0, 0), (1, 0), (0, 2), (0, 0))
    three = lax.reduce_window(x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 1, 1), wide)
    left, right = jnp.split(two, 2, axis=-1)
    return jnp.concatenate([flat(y) for y in (one, left - right, three)], 1)


def elementwise(x):
    """A long row of functions of one element."""
    y = jax.nn.gelu(x) + jax.nn.silu(x) + jax.nn.softplus(x) + jax.nn.hard_swish(x)
    y += jnp.where(x > 0.3, jnp.exp(-jnp.abs(x)), x**3) + jnp.clip(x, -0.5, jnp.inf)
    y += jnp.round(3 * x) + jnp.floor(x) + jnp.sign(x) * jnp.sqrt(x * x + 0.1)
    y += jnp.minimum(x, 0.2) ** 2 + lax.rsqrt(1 + x * x) + lax.erf(x) + jnp.log1p(x * x)
    y += (x != 0).astype(jnp.float32) + jnp.isfinite(x) + jnp.expm1(x) + lax.rem(x, 0.7)
    y += lax.stop_gradient(x) / jnp.float32([1, 2, 4, 8]) + jnp.exp2(x) + jnp.sin(x)
    y += jnp.logical_and(x > -1, ~(x > 1)) + lax.clamp(-0.1, x, 0.1)
    return flat(y)


def movement(x):
    """Flips, rolls, pads, transposes, repeats, takes, and numbers of largest ones."""
    x = x[:, 1:]
    y = jnp.flip(x, 1) + jnp.roll(x, 2, axis=2) + x.transpose(0, 2, 1, 3)
    y = jnp.pad(y, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=0.5)
    y = y + lax.pad(x, 0.0, ((0, 0, 0), (2, 1, 0), (1, 0, 0), (0, 0, 0)))
    taken = jnp.take(y, jnp.array([2, 0, 2]), axis=-1) + y[:, :, :, 1:4]
    largest = x.argmax(-1).astype(jnp.float32) + jnp.cumsum(x, 1).max(-1)
    rest = [y[:, 1::3, ::2], y[:, 2], x.sum(1, keepdims=True) * x, taken, largest]
    return jnp.concatenate([flat(each) for each in rest], 1)


def zeros(x):
    """An array that the number of images alone decides, joined to the image."""
    nothing = jnp.zeros((x.shape[0], *x.shape[1:3], 2))
    return flat(jnp.concatenate([x, nothing + 1, jax.nn.relu(nothing)], -1))


def normalised(x):
    """Each image by its own mean and deviation: no constant at all."""
    mean, variance = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
    return flat((x - mean) * lax.rsqrt(variance + 1e-5))


def dynamic(x):
    """Slices at constant places, a branch that a constant takes, products by rows."""
    part = lax.dynamic_slice(x, (0, 1, jnp.int32(2), 0), (x.shape[0], 3, 2, 4))
    part = lax.cond(jnp.int32(1) > 0, lambda p: p * 2, lambda p: p, part)
    rows = lax.dot_general(
        x, jnp.asarray(images(3, 7, seed=7)), (((1,), (1,)), ((), ()))
    )
    return jnp.concatenate([flat(part), flat(rows)], 1)


USERS = (squeeze_and_excite, attention, shuffle, steps, read_twice, by_pixel, pools)
USERS += (elementwise, movement, zeros, normalised, dynamic)


@pytest.mark.parametrize("function", USERS, ids=lambda f: f.__name__)
def test_functions_of_a_user(function):
    """Plain JAX, nothing of it known to jnas."""
    agree(function, images(3, 7, 6, 4))


@pytest.mark.parametrize("function", USERS[:3], ids=lambda f: f.__name__)
def test_one_file_takes_any_number_of_images(function):
    """1 and 5 images of one session; each image by itself gives the same."""
    made = file.model(function, (7, 6, 4))
    session = onnxruntime.InferenceSession(made.SerializeToString())
    x = images(5, 7, 6, 4)
    (many,) = session.run(None, {"image": x})
    singles = [session.run(None, {"image": x[i : i + 1]})[0] for i in range(5)]
    np.testing.assert_allclose(many, np.concatenate(singles), atol=1e-5)
    (one,) = made.graph.input
    (batch, *_) = one.type.tensor_type.shape.dim
    assert batch.dim_param == "batch"


def test_a_primitive_of_ones_own():
    """Refused by name with the advice, and the advice works."""
    softsign = core.Primitive("export_test_softsign")
    softsign.def_abstract_eval(lambda x: x)
    softsign.def_impl(lambda x: x / (1 + jnp.abs(x)))
    lowering = mlir.lower_fun(lambda x: x / (1 + jnp.abs(x)), multiple_results=False)
    mlir.register_lowering(softsign, lowering)

    def function(x):
        return flat(softsign.bind(ops.dense_conv(x, jnp.ones((1, 1, 4, 4)))))

    with pytest.raises(ValueError, match="got 'export_test_softsign'. Register one: "):
        file.model(function, (7, 6, 4))

    @registry.ONNX.register(name="export_test_softsign")
    def write(graph, inputs, outputs, params):
        (x,) = map(graph.plain, inputs)
        return graph.node("Softsign", x.name, sizes=x.sizes, dtype=x.dtype)

    assert agree(function, images(2, 7, 6, 4))["Softsign"] == 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x: lax.while_loop(lambda v: v.sum() < 9, lambda v: v + 1, x).sum(
                (1, 2)
            ),
            "got a while loop",
        ),
        (
            lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x).sum((1, 2)),
            "Write it with jnp.where",
        ),
        (
            lambda x: (
                x.sum((1, 2)) + jax.random.normal(jax.random.key(0), (x.shape[0], 4))
            ),
            "must not draw random numbers",
        ),
        (lambda x: flat(x.astype(jnp.bfloat16)).astype(jnp.float32), "bfloat16"),
        (lambda x: x.reshape(len(x), -1), "Write x.shape.0., not len"),
        (lambda x: jnp.fft.fft(x).real.sum((1, 2)), "got 'fft'"),
        (lambda x: x.reshape(-1, 4).T @ x.reshape(-1, 4), None),
    ],
)
def test_what_cannot_be_written_is_refused(function, message):
    """In one line, before a file exists; a sum over images is not one of them."""
    if message is None:
        agree(function, images(3, 7, 6, 4))
        return
    with pytest.raises(ValueError, match=message) as caught:
        file.model(function, (7, 6, 4))
    assert "\n" not in str(caught.value)


def convolutions(genotype, layers):
    """Counts the convolutions of DARTS' network from its definition."""
    of = {"sep": 4, "dil": 2, "con": 2}
    halved, count = [layers // 3, 2 * layers // 3], 1  # the stem
    for layer in range(layers):
        edges = genotype.cells[int(layer in halved)][1].edges
        count += 3 if layer - 1 in halved else 2  # preprocessing
        count += sum(of.get(name[:3], 0) for *_, name in edges)
        skips = [source for source, _, name in edges if name == "skip_connect"]
        count += 2 * sum(source < 2 for source in skips) * (layer in halved)
    return count


def network(genotype, size, shape):
    """Builds pixels -> logits with weights and statistics that are not initial."""
    net = networks.derived(genotype, size)
    params, stats = moved(jax.jit(net.init)(jax.random.key(0)))

    def function(x):
        x = (x / 255 - jnp.float32([0.4, 0.5, 0.6])) / jnp.float32([0.2, 0.3, 0.25])
        return net.apply(params, stats, x, train=False)[0][0]

    rng = np.random.default_rng(0)
    return function, np.round(rng.random((2, *shape)) * 255).astype(np.float32)


def test_the_graph_of_a_network_is_clean():
    """A Conv a convolution; Mul, Add and Transpose once for the image, no norm."""
    genotype = published.genotype("DARTS_V2")
    function, x = network(genotype, networks.Size(2, 3, 10), (8, 8, 3))
    counts = agree(function, x)
    # stem; 2, 2, 3 to preprocess; five sep_conv and a dil_conv of the normal cell
    assert counts["Conv"] == convolutions(genotype, 3) == 1 + 7 + 5 * 4 + 2
    assert counts["Mul"] == counts["Transpose"] == counts["Gemm"] == 1
    # max_pool_3x3 of the two reduction cells; nodes, and one for the image's mean
    assert counts["MaxPool"] == 2 * 5
    assert counts["Add"] == 1 + 3 * 4
    others = {"Relu", "Concat", "Slice", "ReduceMean"}
    known = {"Conv", "Mul", "Transpose", "Gemm", "MaxPool", "Add"}
    assert set(counts) == known | others
    assert counts["ReduceMean"] == 1


def nasbench(text):
    """Returns a genotype of NAS-Bench-201."""
    return genotype_text.parse(text, space="nasbench201")


POOLED = (
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|avg_pool_3x3~1|none~2|"
)
EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize("text", [POOLED, EMPTY])
def test_cells_of_nasbench201(text):
    """Odd sizes in the stages (14, 7, 4), equal cells in a scan, and an empty cell."""
    layers = 1 if text == EMPTY else 2
    function, x = network(nasbench(text), networks.Size(4, layers, 5), (14, 14, 3))
    counts = agree(function, x)
    # an empty cell gives zeros, as many as there are images
    assert bool(counts["Expand"]) == (text == EMPTY)


def test_a_node_that_no_edge_enters():
    """Its features are zeros in the output, for any number of images."""
    cell = genotypes.Cell(((0, 2, "sep_conv_3x3"), (1, 2, "max_pool_3x3")), (2, 3))
    genotype = genotypes.Genotype("darts", (("normal", cell), ("reduce", cell)))
    function, x = network(genotype, networks.Size(2, 3, 5), (8, 8, 3))
    agree(function, x)


def test_views():
    """Merged axes, axes of size 1 and transpositions are the tensor's own elements."""
    x = np.arange(24).reshape(2, 3, 4)
    assert values.blocks((2, 3, 4), (6, 1, 2, 2)) == [([0, 1], [0]), ([2], [2, 3])]
    view = values.Tensor("x", x.shape, ((2,), (), (0, 1)), x.dtype)
    assert view.shape == (4, 1, 6) and view.axis(0) == 2 and view.axis(2) is None
