"""Discrete search methods over encodings; importing this package registers them."""

from jnas.discrete.controllers import fronts as fronts
from jnas.discrete.controllers.enas_lstm import enas_lstm as enas_lstm
from jnas.discrete.controllers.evolution import (
    regularized_evolution as regularized_evolution,
)
from jnas.discrete.controllers.local_search import local_search as local_search
from jnas.discrete.controllers.nsga2 import nsga2 as nsga2
from jnas.discrete.controllers.random import random_search as random_search
from jnas.discrete.controllers.reinforce import reinforce as reinforce
