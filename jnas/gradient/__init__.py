"""Gradient-based search: a supernet's parameters and its architecture, in turns."""

from jnas.gradient import decays as decays
from jnas.gradient import one_hot as one_hot
from jnas.gradient import papers as papers
from jnas.gradient.checks import check as check
from jnas.gradient.hooks.watch import COUNT as COUNT
from jnas.gradient.hooks.watch import WATCHED as WATCHED
from jnas.gradient.losses import Batch as Batch
from jnas.gradient.losses import build_losses as build_losses
from jnas.gradient.mixing import edge_weights as edge_weights
from jnas.gradient.mixing import eval_weights as eval_weights
from jnas.gradient.resolve import derive as derive
from jnas.gradient.resolve import space_of as space_of
from jnas.gradient.search import METRICS as METRICS
from jnas.gradient.search import gradient_search as gradient_search
from jnas.gradient.search_pieces import Pieces as Pieces
from jnas.gradient.segments import Segment as Segment
from jnas.gradient.segments import Setting as Setting
from jnas.gradient.segments import build_segments as build_segments
from jnas.gradient.start import GradientState as GradientState
