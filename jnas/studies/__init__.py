"""What each kind of run does: searches, trainings, comparisons, tables."""
