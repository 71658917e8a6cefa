"""The numbers that are folded into a run's key, one for each use of chance."""

SEARCH, RETRAIN, CELLS, TEST = range(4)
