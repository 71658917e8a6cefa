"""Constants folded into a run's PRNG key, one for each random stream."""

SEARCH, RETRAIN, CELLS, TEST, DISCRETE, TUNE, HALVING, LABELS = range(8)
