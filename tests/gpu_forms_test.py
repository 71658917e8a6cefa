"""The forms of GPU in a whole network, on CPU: the same gradients."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

GRADIENTS = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.interpreters import mlir
from jnas import gradient, networks, spaces
from jnas.gradient import relaxations
from jnas.ops.kernels import dense, pointwise, pool_forms, window_forms, windows

def use(primitives, forms):
    for primitive, form in zip(primitives, forms, strict=True):
        lowering = mlir.lower_fun(form, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform="cpu")

if sys.argv[1] == "gpu":
    use(windows.DEPTHWISE, window_forms.UNDILATED)
    use(dense.DENSE, dense.NATIVE)
    use(pointwise.POINTWISE, pointwise.SPLIT)
    pointwise.MIN_PIXELS = 16  # else a small image is one part
    use((windows.SUM, windows.SPREAD, windows.MAX), (
        pool_forms.window_sum_native, pool_forms.window_spread_native,
        pool_forms.window_max_native))
space = spaces.zoo.darts().with_operations(
    ["skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_5x5"])
network = networks.supernet(space, networks.Size(2, 3, 10))
loss, _ = gradient.build_losses(network, relaxations.softmax)
rng = np.random.default_rng(0)
shapes = jax.eval_shape(network.init, jax.random.key(0))
params = jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape), shapes)
logits = rng.normal(0, 0.5, space.shape)
images, labels = rng.normal(size=(2, 9, 10, 3)), rng.integers(0, 10, 2)
batch = gradient.Batch(jnp.asarray(images), jnp.asarray(labels), jnp.zeros(()))

def value(params, logits):
    return loss(jax.random.key(1), params, logits, batch)[0]

found = jax.jit(jax.grad(value, (0, 1))).lower(params, logits)
text = found.as_text()
grads = found.compile()(params, logits)
norms = [float(jnp.vdot(g, jnp.cos(jnp.arange(g.size).reshape(g.shape))))
         for g in jax.tree.leaves(grads)]
print(json.dumps({"convolutions": text.count("stablehlo.convolution"), "of": norms}))
"""


@pytest.mark.slow
def test_gradients_of_a_supernet():
    """Every primitive in its form of GPU against its form of CPU, in float64."""
    found = {}
    for form in ("cpu", "gpu"):
        line = [sys.executable, "-c", GRADIENTS, form]
        env = os.environ | {"JAX_ENABLE_X64": "1"}
        done = subprocess.run(line, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        found[form] = json.loads(done.stdout.splitlines()[-1])
    assert found["gpu"]["convolutions"] > 50 > found["cpu"]["convolutions"]
    np.testing.assert_allclose(found["gpu"]["of"], found["cpu"]["of"], rtol=1e-9)
