"""jnas: neural architecture search as compiled JAX programs."""

from jnas import bilevel as bilevel
from jnas import comparison as comparison
from jnas import controllers as controllers
from jnas import curvature as curvature
from jnas import data as data
from jnas import drawing as drawing
from jnas import genotype as genotype
from jnas import methods as methods
from jnas import networks as networks
from jnas import objectives as objectives
from jnas import ops as ops
from jnas import optimizers as optimizers
from jnas import perturbations as perturbations
from jnas import registry as registry
from jnas import regularizers as regularizers
from jnas import relaxations as relaxations
from jnas import selections as selections
from jnas import sharing as sharing
from jnas import spaces as spaces
from jnas import tables as tables
from jnas import timing as timing
from jnas import types as types
from jnas import zoo as zoo
from jnas.registry import load_plugins as load_plugins

__version__ = "0.1.0"
