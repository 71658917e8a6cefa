"""The steps that benchmark.py times: single steps of a search and of a training.

A step's multiply-accumulates are those of its network's forward pass, as
``networks.count_macs`` counts them (inside scans too, unlike XLA's own count; but it
cannot count hand-written gradients), times the passes that its derivatives need:

  forward            1
  weight             3   forward, gradient in the activations, gradient in the kernels
  architecture       2   no gradient in the kernels
  first_order        5   an architecture and a weight step
  second_order      13   gradient of L_train 3, of L_valid at the new weights 3, back
                         through the first gradient 4 (of its three products a layer,
                         two are taken to the activations alone and one to both
                         factors), weight step 3
  finite_difference 13   the same, with two probes of 2 instead of the 4
  retrain            3

Operations that are recomputed to save memory count once. The first convolution needs no
gradient in the images, so the count is slightly too high for shallow networks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import gradient as gradient_lib
from jnas import networks, spaces, types
from jnas.gradient import bilevel, relaxations
from jnas.spaces import published
from jnas.training import optimizers, scratch

PASSES = {
    "forward": 1,
    "weight": 3,
    "architecture": 2,
    "first_order": 5,
    "second_order": 13,
    "finite_difference": 13,
    "retrain": 3,
}
NUM_CLASSES = 10


class Step(NamedTuple):
    """A step for a compiled loop over batches, as in a run.

    Attributes:
      function: (state, batch, *args) -> (state, info).
      state: initial state; donated.
      batches: the batches of all steps, arrays with a leading axis of steps.
      args: further arguments, the same for every step.
      macs: number of multiply-accumulates of one step.
    """

    function: Callable[..., tuple[Any, Any]]
    state: Any
    batches: Any
    args: tuple
    macs: int


def steps(
    names: list[str],
    *,
    features: int,
    layers: int,
    batch_size: int,
    image_size: int,
    loop: int = 1,
    **options: Any,
) -> dict[str, Step]:
    """Builds steps in the DARTS space, on random images, at the paper's settings.

    Args:
      names: names of steps, from PASSES.
      features: number F of features of the first cells.
      layers: number of cells of the network.
      batch_size: number B of examples in a batch, for both levels.
      image_size: rows and columns of the images, in pixels.
      loop: number of batches.
      **options: options of both networks: remat, dtype.

    Returns:
      name -> Step; no two share arrays.
    """
    images_key, labels_key, key = jax.random.split(jax.random.key(0), 3)
    dims = (2, loop, batch_size, image_size, image_size, 3)
    images = jax.random.normal(images_key, dims)
    labels = jax.random.randint(labels_key, dims[:3], 0, NUM_CLASSES)
    pairs = zip(images, labels, strict=True)
    batches = tuple(
        gradient_lib.Batch(*pair, jnp.zeros(loop, jnp.float32)) for pair in pairs
    )
    size = networks.Size(features, layers, NUM_CLASSES)
    made = {}
    if set(names) - {"retrain"}:
        made |= _search_steps(size, key, batches, options)
    if "retrain" in names:
        made["retrain"] = _retrain_step(size, batches, options)
    return {
        name: made[name]._replace(state=jax.tree.map(jnp.copy, made[name].state))
        for name in names
    }


def _search_steps(size, key, batches, options) -> dict[str, Step]:
    space = spaces.zoo.darts()
    supernet = networks.supernet(space, size, **options)
    train_loss, valid_loss = gradient_lib.build_losses(supernet, relaxations.softmax)
    inner, outer = optimizers.momentum_sgd(0.025), optimizers.adam_l2()

    def method(rule):
        return bilevel.bilevel(
            train_loss,
            valid_loss,
            params_optimizer=inner,
            logits_optimizer=outer,
            hypergradient=rule,
        )

    def forward(state, batch, params, logits):
        images = batch[0].images
        return state, supernet.apply(params, images, jax.nn.softmax(logits, -1))

    def weight(state, batch, logits, key):
        loss = jax.value_and_grad(train_loss, argnums=1, has_aux=True)
        (value, _), grads = loss(key, state[0], logits, batch[0])
        return _updated(inner, grads, state), value

    def architecture(state, batch, params, key):
        gradient = bilevel.first_order(train_loss, valid_loss, inner)
        (value, _), grads = gradient(key, params, None, state[0], None, batch[1])
        return _updated(outer, grads, state), value

    def both(rule):
        step = method(rule).step
        return lambda state, batch, key: step(key, state, *batch)

    params = _filled(jax.eval_shape(supernet.init, key))
    state = method(bilevel.first_order).init(params, jnp.zeros(space.shape))
    params, logits, params_opt, logits_opt = state
    macs = networks.count_macs(
        lambda *a: forward((), *a)[1], _first(batches), params, logits
    )
    made = {
        "forward": (forward, (), batches, (params, logits)),
        "weight": (weight, (params, params_opt), batches, (logits, key)),
        "architecture": (architecture, (logits, logits_opt), batches, (params, key)),
        "first_order": (both(bilevel.first_order), state, batches, (key,)),
        "second_order": (both(bilevel.unrolled), state, batches, (key,)),
        "finite_difference": (both(bilevel.finite_difference), state, batches, (key,)),
    }
    return {name: Step(*made[name], PASSES[name] * macs) for name in made}


def _retrain_step(size, batches, options) -> Step:
    network = networks.derived(published.genotype("DARTS_V2"), size, **options)
    optimizer = optimizers.momentum_sgd(0.025)

    def loss(params, stats, images, labels):
        (outputs, _), stats = network.apply(params, stats, images, train=True)
        return scratch.cross_entropy(outputs, labels), stats

    def step(state, batch):
        images, labels, *_ = batch[0]
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params, state.stats, images, labels
        )
        params, opt_state = _updated(optimizer, grads, (state.params, state.opt_state))
        return scratch.TrainState(params, stats, opt_state), value

    params, stats = _filled(jax.eval_shape(network.init, jax.random.key(0)))
    state = scratch.TrainState(params, stats, optimizer.init(params))
    images, labels, *_ = _first(batches)[0]
    macs = networks.count_macs(loss, params, stats, images, labels)
    return Step(step, state, batches, (), PASSES["retrain"] * macs)


def _first(batches: Any) -> Any:
    """Returns the first of stacked batches."""
    return jax.tree.map(lambda leaf: leaf[0], batches)


def _filled(shapes: types.Params) -> types.Params:
    """Returns random parameters without a network's init, which compiles slowly."""
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda s: jnp.asarray(draw(0, 0.1, s.shape), s.dtype), shapes)


def _updated(
    optimizer: optax.GradientTransformation, grads: types.Params, state: tuple
) -> tuple:
    """Updates (values, optimiser's state) with a gradient."""
    values, opt_state = state
    updates, opt_state = optimizer.update(grads, opt_state, values)
    return optax.apply_updates(values, updates), opt_state
