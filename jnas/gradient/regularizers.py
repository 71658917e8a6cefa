"""Regularizers: penalties on the architecture that are added to its loss.

Each is ``(logits, weights, progress f32[], space) -> f32[]``, where logits and weights
are arrays or pytrees of arrays f32[..., O], the weights the relaxation of the logits,
and the space names the rows and options. One that takes the first three, or four,
works too; one that takes ``loss`` f32[] and ``costs`` (cost -> networks.Costs of the
supernet's size) gets the validation loss and what each option costs. An
option whose logit is -inf is removed: it counts neither in a sum nor in the number that
a mean divides by.
"""

import inspect
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jnas import networks, pieces, registry, spaces, types
from jnas.gradient import relaxations

ARGUMENTS = ("logits", "weights", "progress", "space", "loss", "costs")


def with_all(regularizer: types.Regularizer) -> types.Regularizer:
    """Returns a regularizer that takes all arguments, whether it asked for them or not.

    Args:
      regularizer: of ARGUMENTS, or of the first three or more.

    Raises:
      TypeError: a function of other arguments.
    """
    for place, name in enumerate(inspect.signature(regularizer).parameters):
        if name in ARGUMENTS and ARGUMENTS.index(name) != place:
            raise TypeError(
                f"{getattr(regularizer, '__name__', regularizer)!s} must take "
                f"({', '.join(ARGUMENTS)}), got {name} as argument {place + 1}. Give "
                "it all arguments before."
            )
    return pieces.taking(regularizer, ARGUMENTS, least=3)


def needs_costs(regularizer: types.Regularizer) -> bool:
    """Returns whether a regularizer takes the costs of options.

    Args:
      regularizer: any.
    """
    return "costs" in inspect.signature(regularizer).parameters


@registry.REGULARIZERS.register
def zero_one(
    logits: types.Logits,
    weights: types.Weights,
    progress: types.Array,
    space: spaces.Space | None = None,
    *,
    strength: float = 10.0,
):
    """Rewards weights that are far from a half: -strength mean((weights - 1/2)^2).

    It is meant for ``relaxations.sigmoid``, whose weights are independent of each
    other. The mean is over all options of all rows. The gradient is 0 at a
    half, so the penalty acts only after the loss has moved a weight.

    Args:
      logits: of the space; -inf marks the removed options.
      weights: of the space, in [0, 1].
      progress: not used.
      space: not used.
      strength: factor of the penalty.

    Returns:
      f32[], from -strength / 4 to 0.

    Source: Chu, Zhou, Zhang and Li 2020, arXiv:1911.12126, section 4.
    """
    del progress, space
    far = jax.tree.map(lambda own: (own - 0.5) ** 2, weights)
    return -strength * _mean(far, logits)


@registry.REGULARIZERS.register
def zero_one_l1(
    logits: types.Logits,
    weights: types.Weights,
    progress: types.Array,
    space: spaces.Space | None = None,
    *,
    strength: float = 10.0,
):
    """Rewards weights that are far from a half: -strength mean(|weights - 1/2|).

    The gradient's magnitude does not depend on the distance from a half; at a half it
    is defined as 0.

    Args:
      logits: of the space; -inf marks the removed options.
      weights: of the space, in [0, 1].
      progress: not used.
      space: not used.
      strength: factor of the penalty.

    Returns:
      f32[], from -strength / 2 to 0.

    Source: arXiv:1911.12126, section 4, the variant with the absolute value.
    """
    del progress, space

    def far(weights):
        gap = weights - 0.5
        # not jnp.abs, whose gradient at 0 is 1: logits that start at 0 would grow
        return gap * jax.lax.stop_gradient(jnp.sign(gap))

    return -strength * _mean(jax.tree.map(far, weights), logits)


@registry.REGULARIZERS.register
def dirichlet_kl(
    logits: types.Logits,
    weights: types.Weights,
    progress: types.Array,
    space: spaces.Space | None = None,
    *,
    strength: float = 1e-3,
):
    """Keeps ``relaxations.dirichlet`` near uniform: strength sum KL(Dir(c) || Dir(1)).

    c = elu(logits) + 1, and the sum is over rows. With s = sum c over the K options
    that are not removed, and psi the digamma function, a row adds
    log Gamma(s) - log Gamma(K) + sum [(c - 1)(psi(c) - psi(s)) - log Gamma(c)].

    Args:
      logits: of the space.
      weights: not used; the penalty is on the distribution, not on a sample of it.
      progress: not used.
      space: not used.
      strength: factor of the penalty.

    Returns:
      f32[], at least 0; 0 where every logit is 0.

    Source: Chen, Wang, Cheng, Tang and Hsieh 2021, arXiv:2006.10355, section 2.
    """
    del weights, progress, space
    first, *others = map(_kl, jax.tree.leaves(logits))
    return strength * sum(others, first)


@registry.REGULARIZERS.register
def expected_cost(
    logits: types.Logits,
    weights: types.Weights,
    progress: types.Array,
    space: spaces.Space,
    loss: types.Array,
    costs: Mapping[str, networks.Costs],
    *,
    strength: float = 1.0,
    cost: str = "parameters",
):
    """Adds strength * (expected cost - cheapest) / (dearest - cheapest).

    The expected cost is that of architectures drawn by the weights, which at one-hot
    weights is the architecture's own.

    Args:
      logits: not used.
      weights: of the space, not negative.
      progress: not used.
      space: not used.
      loss: not used.
      costs: cost -> what each option costs.
      strength: units of the loss for the whole range of costs.
      cost: ``parameters`` or ``macs``.

    Returns:
      f32[], from 0 to strength.

    Source: Xie et al. 2019, arXiv:1812.09926, section 2.3 (the expected cost of sampled
    architectures). Differs: in units of the space's range.
    """
    del logits, progress, space, loss
    own = _cost(costs, cost)
    least, most = networks.extent(own)
    return strength * (own.expected(weights) - least) / max(most - least, 1.0)


@registry.REGULARIZERS.register
def log_cost(
    logits: types.Logits,
    weights: types.Weights,
    progress: types.Array,
    space: spaces.Space,
    loss: types.Array,
    costs: Mapping[str, networks.Costs],
    *,
    alpha: float = 0.2,
    beta: float = 0.6,
    cost: str = "macs",
):
    """Multiplies the loss by alpha log(expected cost)^beta: what is added is the rest.

    loss + loss (alpha log(c)^beta - 1) = loss alpha log(c)^beta. The gradient flows
    through both factors.

    Args:
      logits: not used.
      weights: of the space, not negative.
      progress: not used.
      space: not used.
      loss: f32[], the validation loss without penalties.
      costs: cost -> what each option costs.
      alpha: factor of the loss.
      beta: exponent of the logarithm.
      cost: ``parameters`` or ``macs``; its expected value must be above 1.

    Returns:
      f32[].

    Source: Wu et al. 2019, arXiv:1812.03443, equation 2. Differs: the cost is counted,
    where the paper's is a latency.
    """
    del logits, progress, space
    logarithm = jnp.log(jnp.maximum(_cost(costs, cost).expected(weights), 1 + 1e-6))
    return loss * (alpha * logarithm**beta - 1)


def _cost(costs, name):
    if name not in costs:
        raise ValueError(
            f"cost must be one of {', '.join(costs)}, got {name!r}. "
            f"{registry.nearest(name, costs)}"
        )
    return costs[name]


def _kl(logits):
    """Returns f32[], the sum over rows of KL(Dir(c) || Dir(1))."""
    inside = _inside(logits)
    c = jnp.where(inside, relaxations.concentration(logits), 1)  # 1 adds 0 to the sum
    s = jnp.sum(c, -1, keepdims=True, where=inside)
    gammaln, digamma = jax.scipy.special.gammaln, jax.scipy.special.digamma
    terms = (c - 1) * (digamma(c) - digamma(s)) - gammaln(c)
    num_inside = inside.sum(-1).astype(c.dtype)
    edges = gammaln(s[..., 0]) - gammaln(num_inside) + terms.sum(-1)
    return edges.sum()


def _mean(values, logits):
    """Returns the mean over all options that are not removed, of all leaves."""
    inside = [_inside(leaf) for leaf in jax.tree.leaves(logits)]
    means = [
        jnp.mean(leaf, where=own)
        for leaf, own in zip(jax.tree.leaves(values), inside, strict=True)
    ]
    if len(means) == 1:
        return means[0]
    counts = jnp.stack([own.sum() for own in inside])
    return (jnp.stack(means) * counts).sum() / counts.sum()


def _inside(logits):
    """Returns bool[..., O]: False for removed options."""
    return ~jnp.isneginf(logits)
