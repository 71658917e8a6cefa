"""The searches: by gradient through a supernet, and discrete, by ask and tell."""

from jnas.search.discrete import History as History
from jnas.search.discrete import best as best
from jnas.search.discrete import discrete_search as discrete_search
from jnas.search.gradient import METRICS as METRICS
from jnas.search.gradient import GradientState as GradientState
from jnas.search.gradient import Pieces as Pieces
from jnas.search.gradient import gradient_search as gradient_search
from jnas.search.losses import Batch as Batch
from jnas.search.losses import losses as losses
from jnas.search.mixing import edge_weights as edge_weights
from jnas.search.mixing import strengths as strengths
from jnas.search.pieces import check as check
from jnas.search.pieces import derive as derive
from jnas.search.pieces import space_of as space_of
from jnas.search.plan import Leg as Leg
from jnas.search.plan import Setting as Setting
from jnas.search.plan import legs as legs
from jnas.search.watching import COUNT as COUNT
from jnas.search.watching import WATCHED as WATCHED
