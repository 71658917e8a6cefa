"""Discrete search methods over encodings; importing this package registers them."""

from jnas.controllers import fronts as fronts
from jnas.controllers.evolution import regularized_evolution as regularized_evolution
from jnas.controllers.local_search import local_search as local_search
from jnas.controllers.nsga2 import nsga2 as nsga2
from jnas.controllers.random import random_search as random_search
from jnas.controllers.reinforce import reinforce as reinforce
