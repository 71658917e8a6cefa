"""Objectives: the scores that a discrete search maximises."""

from jnas.discrete.objectives.combine import SCORE as SCORE
from jnas.discrete.objectives.combine import averaged as averaged
from jnas.discrete.objectives.combine import beside as beside
from jnas.discrete.objectives.combine import chosen as chosen
from jnas.discrete.objectives.combine import columns as columns
from jnas.discrete.objectives.combine import constrained as constrained
from jnas.discrete.objectives.combine import declared as declared
from jnas.discrete.objectives.combine import jittable as jittable
from jnas.discrete.objectives.combine import penalised as penalised
from jnas.discrete.objectives.cost import cost as cost
from jnas.discrete.objectives.cost import counted as counted
from jnas.discrete.objectives.cost import latency as latency
from jnas.discrete.objectives.problem import Problem as Problem
from jnas.discrete.objectives.proxies import grad_norm as grad_norm
from jnas.discrete.objectives.proxies import jacobian_covariance as jacobian_covariance
from jnas.discrete.objectives.proxies import naswot as naswot
from jnas.discrete.objectives.proxies import proxy as proxy
from jnas.discrete.objectives.proxies import snip as snip
from jnas.discrete.objectives.proxies import synflow as synflow
from jnas.discrete.objectives.scratch import scratch as scratch
from jnas.discrete.objectives.supernet import ONE_SHOT as ONE_SHOT
from jnas.discrete.objectives.supernet import one_shot_accuracy as one_shot_accuracy
from jnas.discrete.objectives.supernet import one_shot_metric as one_shot_metric
from jnas.discrete.objectives.table import table as table
from jnas.discrete.objectives.two_levels import rescored as rescored
