"""What a step of the paper's search is on accelerators, read without having one."""

import collections
import re

import jax
import jax.numpy as jnp
import pytest

from jnas import gradient, networks, spaces
from jnas.gradient import bilevel, relaxations
from jnas.training import optimizers

BATCH = 64


def traced(num_layers):
    """A first-order step of DARTS: 16 features, 64 images of 32x32."""
    space = spaces.zoo.darts()
    supernet = networks.supernet(space, networks.Size(16, num_layers, 10))
    method = bilevel.bilevel(
        *gradient.build_losses(supernet, relaxations.softmax),
        params_optimizer=optimizers.momentum_sgd(0.025),
        logits_optimizer=optimizers.adam_l2(),
    )

    def start(key):
        return method.init(supernet.init(key), jnp.zeros(space.shape))

    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = gradient.Batch(
        jax.ShapeDtypeStruct((BATCH, 32, 32, 3), jnp.float32),
        jax.ShapeDtypeStruct((BATCH,), jnp.int32),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    state = jax.eval_shape(start, key)
    return jax.jit(lambda *args: method.step(*args)).trace(key, state, batch, batch)


def operations(text):
    """Counts the operations of a StableHLO text."""
    return collections.Counter(re.findall(r"stablehlo\.(\w+)", text))


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_papers_step(platform):
    """Float32 alone, no custom call, images by channels last, few convolutions.

    The step computes 1,500 convolutions (8 layers x 14 edges x 7 of them, forwards,
    backwards and once more, for two levels); edges and equal layers are loops, so that
    under a hundred are compiled, no more for 20 layers than for 8. A scatter never adds
    to one place twice: on GPU the order would not be fixed.
    """
    counts = {}
    for num_layers in (8, 20):
        text = traced(num_layers).lower(lowering_platforms=(platform,)).as_text()
        assert "f64" not in text and "custom_call" not in text
        layouts = re.findall(r"dim_numbers = \[(.*?)\]x\[(.*?)\]->\[(.*?)\]", text)
        assert layouts and set(layouts) <= {
            ("b, 0, 1, f", "0, 1, i, o", "b, 0, 1, f"),  # forwards
            ("b, 0, 1, f", "0, 1, o, i", "b, 0, 1, f"),  # of the input
            ("f, 0, 1, b", "i, 0, 1, o", "0, 1, b, f"),  # of a kernel
        }
        unique = re.findall(
            r"stablehlo\.scatter.*?unique_indices = (\w+).*?\}\) : \((\S+?),",
            text,
            re.S,
        )
        assert sum(is_unique == "true" for is_unique, _ in unique) > 5
        # but for the labels': one place of each image's own row
        repeated = [shape for is_unique, shape in unique if is_unique == "false"]
        assert all(shape.startswith(f"tensor<{BATCH}x") for shape in repeated)
        counts[num_layers] = operations(text)
    few = ("convolution", "reduce_window", "dot_general")
    assert [counts[8][name] for name in few] == [counts[20][name] for name in few]
    assert 0 < counts[8]["convolution"] < 100
