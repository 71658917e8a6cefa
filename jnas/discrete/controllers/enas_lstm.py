"""ENAS' controller: an LSTM that draws gene after gene, trained by REINFORCE."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import registry, types
from jnas.discrete.controllers import draws, rewards

_NO_VALUE = -1e9  # log-probability where a gene has fewer values than another


class EnasState(NamedTuple):
    """The policy, its optimiser's state and the baseline.

    Attributes:
      params: parameters of the LSTM, its embeddings and its outputs.
      opt_state: state of Adam.
      baseline: moving average of the rewards, as of ``rewards.averaged``.
      seen: extent of the scores of feasible cells; None without constraints.
    """

    params: types.Params
    opt_state: optax.OptState
    baseline: rewards.Average
    seen: rewards.Extent | None = None


class Draw(NamedTuple):
    """What a policy says of one encoding.

    Attributes:
      values: i32[G], the encoding.
      log_p: f32[G], log-probability of each value after those before it.
      entropy: f32[G], of the distributions that they are drawn from.
    """

    values: types.Array
    log_p: types.Array
    entropy: types.Array


@registry.CONTROLLERS.register
def enas_lstm(
    sizes: tuple[int, ...],
    *,
    num_proposals: int = 20,
    learning_rate: float = 1e-3,
    baseline_decay: float = 0.99,
    entropy_weight: float = 1e-4,
    num_units: int = 32,
    num_layers: int = 2,
    tanh_constant: float = 2.5,
    temperature: float = 5.0,
    clip_norm: float = 5.0,
    num_constraints: int = 0,
) -> types.Controller:
    """Builds the controller of ENAS: an autoregressive policy, trained by REINFORCE.

    p(e) = product over genes g of softmax(c tanh(y_g / t))[e_g], where y_g is a linear
    map of the LSTM's output and its next input is the embedding of e_g. Genes of
    equally many values share embeddings and outputs. A round is one step of Adam, with
    b1 = 0 and epsilon 1e-3, on

    loss = -mean over proposals of (reward - baseline) log p(e) + w H(e),
    reward = score + w H(e), without a gradient, H(e) = sum of the genes' entropies,

    whose expected gradient is that of -(mean score + w entropy of the policy). The
    baseline is the moving average of the rewards of earlier rounds, and the round's own
    mean in the first one. Only finite scores update the policy; a round without any
    changes nothing. Scores are accuracies from 0 to 1, to which the defaults belong.

    With constraints an infeasible cell has the reward of ``rewards.penalised``.

    Args:
      sizes: number of values of each of the G genes.
      num_proposals: number P of encodings sampled from the policy per round.
      learning_rate: learning rate of Adam.
      baseline_decay: decay of the moving average for each finite score.
      entropy_weight: w, in units of the score per nat.
      num_units: of each layer of the LSTM, and of the embeddings.
      num_layers: of the LSTM.
      tanh_constant: c, largest absolute value of a logit.
      temperature: t.
      clip_norm: largest norm of the gradient.
      num_constraints: number of score columns after the first that are constraint
        margins, at least 0 where a constraint holds.

    Raises:
      ValueError: a setting is out of range, or no gene has more than one value.

    Source: Pham et al. 2018, arXiv:1802.03268, section 2; the numbers are those of Dong
    and Yang 2020, arXiv:2001.00326, and its released code. Differs: there the baseline
    moves once a phase of 1,000 samples; the entropy in the reward keeps its gradient,
    which multiplies log p and lowers the entropy; biases and second layer begin within
    .18, here all parameters within .1.
    """
    draws.check("num_proposals", num_proposals, 1, 1_000_000)
    draws.check("num_units", num_units, 1, 2**16)
    draws.check("num_layers", num_layers, 1, 1_000)
    draws.check("num_constraints", num_constraints, 0, 1_000)
    draws.check_rate("baseline_decay", baseline_decay)
    _check_numbers(
        learning_rate=learning_rate,
        entropy_weight=entropy_weight,
        tanh_constant=tanh_constant,
        temperature=temperature,
        clip_norm=clip_norm,
    )
    draws.check_sizes(sizes)
    walk = _walk(sizes, tanh_constant, temperature)
    optimizer = optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adam(learning_rate, b1=0.0, b2=0.999, eps=1e-3),
    )

    def init(key):
        params = _params(key, sizes, num_units, num_layers)
        seen = rewards.nothing_seen() if num_constraints else None
        baseline = (jnp.zeros(()),) * 2
        return EnasState(params, optimizer.init(params), baseline, seen)

    def ask(key, state):
        unit = jax.random.uniform(key, (num_proposals, len(sizes)))
        return jax.vmap(lambda row: walk(state.params, row, _drawn))(unit).values

    def loss(params, encodings, values, share, average):
        found = jax.vmap(lambda row: walk(params, row, _given))(encodings)
        log_p, entropy = found.log_p.sum(-1), found.entropy.sum(-1)
        reward = jax.lax.stop_gradient(values + entropy_weight * entropy)
        mean = (share * reward).sum()
        before = jnp.where(average[1] > 0, rewards.mean(average), mean)
        gains = (reward - before) * log_p + entropy_weight * entropy
        return -(share * gains).sum(), mean

    def tell(state, encodings, scores):
        values, seen = draws.signal(scores), state.seen
        if num_constraints:
            margins = scores[:, 1 : 1 + num_constraints]
            values, seen = rewards.penalised(values, margins, seen)
        known = jnp.isfinite(values)
        share = known / jnp.maximum(known.sum(), 1)
        grads, mean = jax.grad(loss, has_aux=True)(
            state.params, encodings, jnp.where(known, values, 0), share, state.baseline
        )
        updates, opt_state = optimizer.update(grads, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        average = rewards.averaged(state.baseline, mean, baseline_decay ** known.sum())
        kept = jax.tree.map(
            lambda new, old: jnp.where(known.any(), new, old),
            (params, opt_state, average),
            (state.params, state.opt_state, state.baseline),
        )
        return EnasState(*kept, seen)

    return types.Controller(init, ask, tell)


def _check_numbers(**numbers) -> None:
    """Refuses numbers below 0, and a temperature of 0."""
    for name, value in numbers.items():
        draws.check_rate(name, value, most=float("inf"))
    if not numbers["temperature"]:
        raise ValueError(
            f"temperature must be above 0, got {numbers['temperature']!r}. Choose "
            "another value."
        )


def _params(key, sizes, num_units, num_layers) -> dict[str, Any]:
    """Draws all parameters uniformly from -.1 to .1."""
    kinds, width = len(set(sizes)), max(sizes)
    wide = num_layers, num_units, 4 * num_units
    shapes = {
        "first": (num_units,),
        "from_input": wide,
        "from_hidden": wide,
        "gate_bias": (num_layers, 4 * num_units),
        "embeddings": (kinds, width, num_units),
        "outputs": (kinds, num_units, width),
        "output_bias": (kinds, width),
    }
    keys = jax.random.split(key, len(shapes))
    return {
        name: jax.random.uniform(own, shape, minval=-0.1, maxval=0.1)
        for own, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _walk(sizes, tanh_constant, temperature):
    """Builds (params, what each gene is picked by [G], pick) -> Draw."""
    kinds = np.array([sorted(set(sizes)).index(size) for size in sizes])
    limits = np.array(sizes)

    def walk(params, given, pick):
        def gene(carry, one):
            x, memory = carry
            kind, size, own = one
            exists = jnp.arange(params["output_bias"].shape[-1]) < size
            x, memory = _lstm(params, x, memory)
            y = x @ params["outputs"][kind] + params["output_bias"][kind]
            logits = tanh_constant * jnp.tanh(y / temperature)
            log_p = jax.nn.log_softmax(jnp.where(exists, logits, _NO_VALUE))
            value = pick(own, log_p, size)
            entropy = -(jnp.exp(log_p) * log_p).sum()
            following = params["embeddings"][kind, value]
            return (following, memory), Draw(value, log_p[value], entropy)

        zeros = jnp.zeros_like(params["gate_bias"][:, : len(params["first"])])
        start = params["first"], (zeros, zeros)
        return jax.lax.scan(gene, start, (kinds, limits, given))[1]

    return walk


def _lstm(params, x, memory) -> tuple:
    """Computes all layers at one gene; memory is (h, c), each f32[layers, units]."""
    hidden, cells = [], []
    for layer, (h, c) in enumerate(zip(*memory, strict=True)):
        gates = x @ params["from_input"][layer] + h @ params["from_hidden"][layer]
        gates = gates + params["gate_bias"][layer]
        let_in, keep, new, let_out = jnp.split(gates, 4)
        c = jax.nn.sigmoid(keep) * c + jax.nn.sigmoid(let_in) * jnp.tanh(new)
        x = jax.nn.sigmoid(let_out) * jnp.tanh(c)
        hidden, cells = [*hidden, x], [*cells, c]
    return x, (jnp.stack(hidden), jnp.stack(cells))


def _drawn(unit, log_p, size) -> types.Array:
    """Picks the value at which the sum of the probabilities passes unit f32[]."""
    passed = (unit >= jnp.cumsum(jnp.exp(log_p))).sum()
    return jnp.minimum(passed, size - 1).astype(jnp.int32)


def _given(value, log_p, size) -> types.Array:
    """Picks the value of an encoding that is there."""
    del log_p, size  # it was drawn before
    return value
