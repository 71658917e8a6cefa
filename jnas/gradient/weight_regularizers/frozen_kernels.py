"""The weight regularizer of LoRA-DARTS: kernels are frozen, their factors trained."""

import jax
import jax.numpy as jnp

from jnas import registry, types
from jnas.gradient.weight_regularizers import rule
from jnas.networks import low_rank


@registry.WEIGHT_REGULARIZERS.register
def freeze_kernels(
    problem: rule.Problem, *, warm_rate: float = 0.1
) -> types.WeightRegularizer:
    """Trains kernels in the first epochs, and then only the factors beside them.

    In the first ``warm_rate`` of the program's epochs the factors of low rank stay as
    they start, which adds zero to the kernels; then kernels that have factors keep
    their bits and the factors move. What is still has a gradient of zero, and so no
    part in the norm that clips gradients. All other parameters always move.

    Args:
      problem: of the search; its supernet has factors (``lora_rank``).
      warm_rate: share of the epochs, rounded to whole ones; the released code's 10
        of 100.

    Raises:
      ValueError: a supernet without factors, or a share that is not within 0 and 1.

    Source: the released code of LoRA-DARTS, https://github.com/automl/LoRA-DARTS.
    Differs: there the optimizer and its schedule start anew with the factors, so that
    the momentum of all parameters is zero then; here they continue, and A has the
    momentum of its weight decay.
    """
    if not 0 <= warm_rate <= 1:
        raise ValueError(
            f"warm_rate of freeze_kernels must be from 0 to 1, got {warm_rate}. Give a "
            "share of the epochs."
        )
    like = jax.eval_shape(problem.supernet.init, jax.random.key(0))
    if not any(jax.tree.leaves(low_rank.map_adapted(like, True, True, False))):
        raise ValueError(
            "lora_rank must be at least 1 with the weight regularizer freeze_kernels, "
            "got a supernet without factors beside its kernels. Set lora_rank."
        )
    warm = round(warm_rate * problem.num_epochs)

    def call(key, clock, params, logits, grads, train, valid, carry):
        del key, logits, train, valid
        warming = clock.epoch < warm
        moves = low_rank.map_adapted(params, warming, ~warming, jnp.bool_(True))
        grads = jax.tree.map(lambda m, g: jnp.where(m, g, 0), moves, grads)
        return grads, moves, carry

    return types.WeightRegularizer(lambda params, logits: (), call)
