"""The names of both kinds of search, by gradient and discrete, in one place."""

from jnas.discrete import History as History
from jnas.discrete import best as best
from jnas.discrete import discrete_search as discrete_search
from jnas.gradient import COUNT as COUNT
from jnas.gradient import METRICS as METRICS
from jnas.gradient import WATCHED as WATCHED
from jnas.gradient import Batch as Batch
from jnas.gradient import GradientState as GradientState
from jnas.gradient import Pieces as Pieces
from jnas.gradient import Segment, build_losses, build_segments, eval_weights
from jnas.gradient import Setting as Setting
from jnas.gradient import check as check
from jnas.gradient import derive as derive
from jnas.gradient import edge_weights as edge_weights
from jnas.gradient import gradient_search as gradient_search
from jnas.gradient import space_of as space_of

# as they were called in 0.1
Leg, legs, losses, strengths = Segment, build_segments, build_losses, eval_weights

__path__: list[str] = []  # so that the modules of 0.1 inside it can be imported
