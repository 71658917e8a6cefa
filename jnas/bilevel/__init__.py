"""Bilevel optimisation: minimise L_valid(w*(a), a) over a, w* = argmin_w L_train(w, a).

It knows nothing of architectures: ``params`` w and ``logits`` a are any pytrees, the
two losses any functions ``(key, params, logits, batch) -> (loss, metrics)``, the
optimisers any of Optax. A hypergradient is the rule that turns them into
d L_valid / d a; importing this package registers all of them.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, equations 3 to 8.
"""

from jnas.bilevel.finite_difference import finite_difference as finite_difference
from jnas.bilevel.implicit import conjugate_gradient as conjugate_gradient
from jnas.bilevel.implicit import neumann as neumann
from jnas.bilevel.step import BilevelInfo as BilevelInfo
from jnas.bilevel.step import BilevelState as BilevelState
from jnas.bilevel.step import bilevel as bilevel
from jnas.bilevel.unrolled import first_order as first_order
from jnas.bilevel.unrolled import unrolled as unrolled
