"""Relaxations: how logits become the weights that mix the candidates.

Each is ``(key, logits f32[..., O], progress f32[]) -> weights``, of the same shape; a
row, the last axis, is one decision. A search maps it over the leaves of its logits. A
schedule, such as a temperature's, is a function of ``progress``, which runs from 0 to 1
over the search. One with the attribute ``whole`` gets all leaves at once, and by name
the space.

A logit of -inf marks a removed candidate: its weight and its gradient are exactly 0 and
nothing is NaN, as long as each edge has at least one finite logit.
"""

from jnas.gradient.relaxations.plain import annealed_softmax as annealed_softmax
from jnas.gradient.relaxations.plain import entropy as entropy
from jnas.gradient.relaxations.plain import sigmoid as sigmoid
from jnas.gradient.relaxations.plain import simplex as simplex
from jnas.gradient.relaxations.plain import softmax as softmax
from jnas.gradient.relaxations.plain import uniform as uniform
from jnas.gradient.relaxations.sampled import concentration as concentration
from jnas.gradient.relaxations.sampled import dirichlet as dirichlet
from jnas.gradient.relaxations.sampled import gumbel_softmax as gumbel_softmax
from jnas.gradient.relaxations.sampled import (
    gumbel_softmax_linear as gumbel_softmax_linear,
)
from jnas.gradient.relaxations.sampled import straight_through as straight_through
from jnas.gradient.relaxations.sampled import (
    straight_through_winner as straight_through_winner,
)
from jnas.gradient.relaxations.sampled import uniform_path as uniform_path
