"""A step of the logits without a gradient through w*(a): sampled steps, weighted.

Source: Wang, Guo, Su, Yang and Yan 2021, arXiv:2110.04743, and its released code.
"""

from collections.abc import Callable

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from jnas import registry, types
from jnas.gradient.bilevel import schedule

_LEAST_DENSITY = 1e-4  # added to the density, of the released code
_LEAST_STD = 1e-4  # share of the first standard deviation, which keeps densities finite


@registry.HYPERGRADIENTS.register
def zarts(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
    *,
    num_samples: int = 4,
    num_steps: int = 10,
    temperature: float = 0.01,
    std: float = 0.025,
    uncentred_rate: float = 1e-3,
    after: float = 0.2,
) -> Callable:
    """Estimates a step of the logits by samples whose copies of w are trained (MGS).

    With g = grad_a L_valid(w, a), steps d_1 ... d_N are drawn from the mixture
    q = (1 - r) N(-g, std^2) + r N(0, std^2). Copy i of w takes K steps of the
    ``optimizer`` at a + d_i, which gives w_i:

      L_i = L_valid(w_i, a + d_i),  L_0 = L_valid(w, a)
      c_i = exp(-(L_i - L_0) / temperature) / (q(d_i) + 1e-4)
      a <- a + sum c_i d_i / sum c_i

    q is taken without its constant, so that its maximum is about 1. The rule returns
    minus the step: use it with ``sgd`` at rate 1. All copies train side by side, each
    on the same batch and from the same state of the optimizer. L_0 gives every c_i the
    same factor and is left out.

    In many dimensions D the distance of a draw from its centre is about std sqrt(D), at
    which q is about exp(-D / 2): from D = 60 on the term 1e-4 is all of the
    denominator, and the c_i are a softmax of -L_i / temperature.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      optimizer: optimizer of w; its state is not changed.
      num_samples: N, at least 1.
      num_steps: K, at least 0; 0 evaluates the steps at w itself.
      temperature: above 0; of the softmax over losses.
      std: first standard deviation of the draws, above 0. It falls to 0 along a cosine
        over the rest of the search.
      uncentred_rate: r, above 0 and below 1.
      after: progress of the search at which ``std`` begins to fall, below 1.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits),
      loss and metrics those of w and a.

    Raises:
      ValueError: a number out of its range.

    Source: arXiv:2110.04743, MGS, and its released code. Differs: the K steps use the
    one batch that a hypergradient gets, there K batches of 48 of the architecture's
    split. On digits (space tiny, 8 features, 3 cells, after 20 and 150 steps of w) the
    step's cosine with that of K training batches is .950 and .998; two steps of K other
    batches each have .936 and .999. The released code gives the copies the optimizer of
    w, so that they stay as they are and w moves by its momentum; it adds a draw of each
    component, weighted, in place of a draw of the mixture; and its second density is
    r exp(-|d|^2 std^2 / 2). Here copies are trained, and q is the density that steps
    are drawn from.
    """
    _check(num_samples, num_steps, temperature, std, uncentred_rate, after)
    valid_gradient = jax.value_and_grad(valid_loss, argnums=2, has_aux=True)
    train = _trainer(train_loss, optimizer, num_steps)

    def hypergradient(key, params, opt_state, logits, train_batch, valid_batch):
        valid_key, draw_key, train_key = jax.random.split(key, 3)
        value, grads = valid_gradient(valid_key, params, logits, valid_batch)
        slope, unravel = jax.flatten_util.ravel_pytree(grads)
        width = schedule.cosine(valid_batch, std, 0.0, after=after).astype(slope.dtype)
        width = jnp.maximum(width, _LEAST_STD * std)
        steps = draw(draw_key, slope, width, uncentred_rate, num_samples)

        def loss_after(step):
            moved = optax.tree.add(logits, unravel(step))
            trained = train(train_key, params, opt_state, moved, train_batch)
            return valid_loss(valid_key, trained, moved, valid_batch)[0]

        losses = jax.vmap(loss_after)(steps)
        density = log_density(steps, slope, width, uncentred_rate)
        shares = jax.nn.softmax(
            -losses / temperature - jnp.logaddexp(density, jnp.log(_LEAST_DENSITY))
        )
        return value, unravel(-(shares.astype(slope.dtype) @ steps))

    return hypergradient


zarts.gives_steps = True  # of the logits, not a gradient: no rate scales them


def _check(num_samples, num_steps, temperature, std, uncentred_rate, after) -> None:
    """Refuses numbers that are out of range."""
    rules = (
        ("num_samples", num_samples, num_samples >= 1, "at least 1"),
        ("num_steps", num_steps, num_steps >= 0, "at least 0"),
        ("temperature", temperature, temperature > 0, "above 0"),
        ("std", std, std > 0, "above 0"),
        ("uncentred_rate", uncentred_rate, 0 < uncentred_rate < 1, "between 0 and 1"),
        ("after", after, 0 <= after < 1, "from 0 to below 1"),
    )
    for name, value, holds, rule in rules:
        if not holds:
            raise ValueError(
                f"{name} must be {rule}, got {value}. Leave it out for the paper's."
            )


def draw(
    key: types.Key,
    slope: types.Array,
    std: types.Array,
    uncentred_rate: float,
    num_samples: int,
) -> types.Array:
    """Draws steps from the mixture of Gaussians around -slope and around 0.

    Args:
      key: consumed.
      slope: f32[D], gradient of the logits.
      std: f32[], standard deviation of each entry.
      uncentred_rate: weight of the Gaussian around 0.
      num_samples: N.

    Returns:
      f32[N, D].
    """
    which_key, noise_key = jax.random.split(key)
    shape = num_samples, slope.size
    uncentred = jax.random.bernoulli(which_key, uncentred_rate, (num_samples, 1))
    noise = jax.random.normal(noise_key, shape, slope.dtype)
    return std * noise - jnp.where(uncentred, 0, slope)


def log_density(
    steps: types.Array, slope: types.Array, std: types.Array, uncentred_rate: float
) -> types.Array:
    """Returns the logarithm of the mixture's density, without its constant, f32[N].

    log [(1 - r) exp(-|d + g|^2 / (2 std^2)) + r exp(-|d|^2 / (2 std^2))]

    Args:
      steps: d, f32[N, D].
      slope: g, f32[D].
      std: f32[].
      uncentred_rate: r.
    """
    near, far = (((steps + at) / std) ** 2 for at in (slope, 0))
    return jnp.logaddexp(
        jnp.log1p(-uncentred_rate) - near.sum(-1) / 2,
        jnp.log(uncentred_rate) - far.sum(-1) / 2,
    )


def _trainer(train_loss, optimizer, num_steps) -> Callable:
    """Builds (key, params, opt_state, logits, batch) -> params after K steps."""
    gradient = jax.grad(train_loss, argnums=1, has_aux=True)

    def train(key, params, opt_state, logits, batch):
        def step(carry, own_key):
            params, opt_state = carry
            grads, _ = gradient(own_key, params, logits, batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        keys = jax.random.split(key, num_steps)
        return jax.lax.scan(step, (params, opt_state), keys)[0][0]

    return train
