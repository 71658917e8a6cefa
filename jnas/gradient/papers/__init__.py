"""The methods of papers; importing this package registers their rows."""

from jnas.gradient.papers import darts as darts
from jnas.gradient.papers import decided as decided
from jnas.gradient.papers import hypergradients as hypergradients
from jnas.gradient.papers import inside as inside
from jnas.gradient.papers import kernels as kernels
from jnas.gradient.papers import networks as networks
from jnas.gradient.papers import one_shot as one_shot
from jnas.gradient.papers import regularized as regularized
from jnas.gradient.papers import sampled as sampled
from jnas.gradient.papers import simplex as simplex
