"""Bilevel optimisation: minimise L_valid(w*(a), a) over a, w* = argmin_w L_train(w, a).

Nothing here depends on architectures: ``params`` w and ``logits`` a are any pytrees,
the two losses any functions ``(key, params, logits, batch) -> (loss, metrics)``, the
optimizers any of Optax. A hypergradient is a rule that estimates d L_valid / d a;
importing this package registers all of them.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, equations 3 to 8.
"""

from jnas.gradient.bilevel.finite_difference import (
    finite_difference as finite_difference,
)
from jnas.gradient.bilevel.implicit import conjugate_gradient as conjugate_gradient
from jnas.gradient.bilevel.implicit import neumann as neumann
from jnas.gradient.bilevel.sampled import zarts as zarts
from jnas.gradient.bilevel.step import BilevelInfo as BilevelInfo
from jnas.gradient.bilevel.step import BilevelState as BilevelState
from jnas.gradient.bilevel.step import bilevel as bilevel
from jnas.gradient.bilevel.step import params_first as params_first
from jnas.gradient.bilevel.step import together as together
from jnas.gradient.bilevel.unrolled import first_order as first_order
from jnas.gradient.bilevel.unrolled import one_level as one_level
from jnas.gradient.bilevel.unrolled import unrolled as unrolled
