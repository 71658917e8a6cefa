"""What a discrete search maximises."""

from jnas.objectives.supernet import one_shot_accuracy as one_shot_accuracy
from jnas.objectives.scratch import scratch as scratch
from jnas.objectives.table import table as table
