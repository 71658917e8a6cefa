"""Hypergradients by the implicit function theorem, which differentiates w*(a).

Where grad_w L_train(w, a) = 0, d w* / d a = -H^-1 (d2 L_train / dw da), H the Hessian
of L_train in w. The rules differ in their approximation of H^-1; both use only
Hessian-vector products, forward mode over the gradient.

The theorem's assumptions do not hold during training: w is not a minimum, and H of one
batch has negative eigenvalues, along which H^-1 v has the wrong sign. Each rule states
its effect on these. Weight decay that is part of the optimizer, not of L_train, is not
part of H either; it would add its rate to every eigenvalue.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jnas import registry, types
from jnas.gradient.bilevel import adjoint, schedule


def _implicit(
    train_loss: types.Loss, valid_loss: types.Loss, solve: Callable
) -> Callable:
    """Builds d_a - (d2 L_train / da dw) solve(product with H, grad_w L_valid, train).

    train is the batch of L_train.
    """
    valid_gradient = jax.value_and_grad(valid_loss, argnums=(1, 2), has_aux=True)

    def hypergradient(key, params, opt_state, logits, train, valid):
        del opt_state  # the solution does not depend on the optimizer
        valid_key, train_key = jax.random.split(key)
        value, (direction, d_logits) = valid_gradient(valid_key, params, logits, valid)
        arguments = train_key, params, logits, train

        def product(direction, argnum=1):
            return adjoint.second_derivatives(
                train_loss, arguments, direction, (argnum,)
            )[0]

        mixed = product(solve(product, direction, train), argnum=2)
        return value, optax.tree.sub(d_logits, mixed)

    return hypergradient


@registry.HYPERGRADIENTS.register
def neumann(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
    *,
    num_terms: int = 5,
    step_size: float = 0.01,
    final_step_size: float | None = None,
) -> Callable:
    """Approximates H^-1 v by s sum_{j=0}^{K} (I - s H)^j v, with step size s.

    Each term beyond the first costs a product with H, about two gradients. The sum is
    the backward pass through K + 1 steps of gradient descent at rate s, if v and H were
    the same in each; num_terms = 0 is one such step. It converges to H^-1 v only if all
    eigenvalues h of H lie in (0, 2 / s). It multiplies v's component along an
    eigenvector by (1 - (1 - s h)^(K+1)) / h: close to (K + 1) s where h is small,
    finite for every h, and growing with K where h < 0 or h > 2 / s. A small (K + 1) s
    is therefore safer, and closer to ``first_order``.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      optimizer: not used; the theorem does not depend on it.
      num_terms: K, the number of products with H, at least 0.
      step_size: s, above 0 and below 2 over the largest eigenvalue of H.
      final_step_size: s at the end of the search, to which it falls along a cosine, as
        a learning rate does; None keeps it.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits).

    Raises:
      ValueError: num_terms below 0; a step size that is not above 0.

    Source: Lorraine, Vicol and Duvenaud 2020, arXiv:1911.02590, the Neumann series.
    Differs: computed at the current w, during training. The paper gives no settings for
    a search; descent with momentum .9 at DARTS's rate of .025 is stable up to
    eigenvalues of 2 (1 + .9) / .025 = 152, and .01 up to 200.
    """
    del optimizer
    if num_terms < 0:
        raise ValueError(
            f"num_terms must be at least 0, got {num_terms}. 0 takes step_size as H^-1."
        )
    final = step_size if final_step_size is None else final_step_size
    for name, value in (("step_size", step_size), ("final_step_size", final)):
        if not value > 0:
            raise ValueError(
                f"{name} must be above 0, got {value}. Use first_order to leave H out."
            )

    def solve(product, v, train):
        size = step_size
        if final != step_size:
            size = schedule.cosine(train, step_size, final)

        def body(_, carry):
            term, total = carry
            term = optax.tree.add_scale(term, -size, product(term))
            return term, optax.tree.add(total, term)

        _, total = jax.lax.fori_loop(0, num_terms, body, (v, v))
        return optax.tree.scale(size, total)

    return _implicit(train_loss, valid_loss, solve)


@registry.HYPERGRADIENTS.register
def conjugate_gradient(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
    *,
    num_iterations: int = 5,
    damping: float = 20.0,
) -> Callable:
    """Approximates H^-1 v by conjugate gradients on (H + damping I) x = v.

    Each iteration costs a product with H, about two gradients, and the start one more.
    In exact arithmetic as many iterations as w has entries solve the system; fewer give
    the best solution in the span of v, H v, H^2 v, ... if H + damping I is positive
    definite. It is not if an eigenvalue h is below -damping; the solution then belongs
    to a saddle point and can be large. Damping above |h| of the most negative
    eigenvalue prevents that; directions of eigenvalue h are multiplied by
    1 / (damping + h). Large damping gives v / damping, a short step of gradient
    descent.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      optimizer: not used; the theorem does not depend on it.
      num_iterations: largest number of iterations, at least 1; the solver stops earlier
        once the residual is at the dtype's rounding error.
      damping: added to every eigenvalue of H, at least 0.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits).

    Raises:
      ValueError: num_iterations below 1; damping below 0.

    Source: Pedregosa 2016, arXiv:1602.02355, algorithm 1; Rajeswaran et al. 2019,
    arXiv:1909.04630; 5 iterations are those of the latter's released code. Differs:
    computed at the current w, during training, where that code's damping of 1 is too
    small (DARTS's supernet of 4 features, 3 cells, one batch of 32: eigenvalues
    from -11 to 19 at the start, from -2 to 12 after 30 steps).
    """
    del optimizer
    if num_iterations < 1:
        raise ValueError(
            f"num_iterations must be at least 1, got {num_iterations}. Use first_order "
            "to leave H out."
        )
    if not damping >= 0:
        raise ValueError(
            f"damping must be at least 0, got {damping}. Raise it: it "
            "compensates for negative curvature."
        )

    def solve(product, v, train):
        del train

        def damped(direction):
            return optax.tree.add_scale(product(direction), damping, direction)

        rounding = jnp.finfo(jnp.result_type(*jax.tree.leaves(v))).eps
        solution, _ = jax.scipy.sparse.linalg.cg(
            damped, v, tol=float(rounding), maxiter=num_iterations
        )
        return solution

    return _implicit(train_loss, valid_loss, solve)
