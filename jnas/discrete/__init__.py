"""Discrete search: controllers such as evolution and REINFORCE, by ask and tell."""

from jnas.discrete.search import History as History
from jnas.discrete.search import best as best
from jnas.discrete.search import discrete_search as discrete_search
