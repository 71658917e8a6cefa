"""The discrete searches: evolution, REINFORCE and others, by ask and tell."""

from jnas.discrete.search import History as History
from jnas.discrete.search import best as best
from jnas.discrete.search import discrete_search as discrete_search
