"""What a discrete search maximises."""

from jnas.objectives.combine import averaged as averaged
from jnas.objectives.combine import beside as beside
from jnas.objectives.combine import constrained as constrained
from jnas.objectives.combine import penalised as penalised
from jnas.objectives.cost import cost as cost
from jnas.objectives.cost import latency as latency
from jnas.objectives.proxies import grad_norm as grad_norm
from jnas.objectives.proxies import jacobian_covariance as jacobian_covariance
from jnas.objectives.proxies import naswot as naswot
from jnas.objectives.proxies import snip as snip
from jnas.objectives.proxies import synflow as synflow
from jnas.objectives.scratch import scratch as scratch
from jnas.objectives.supernet import one_shot_accuracy as one_shot_accuracy
from jnas.objectives.table import table as table
from jnas.objectives.task import Task as Task
