"""jnas: neural architecture search as compiled JAX programs.

``import jnas`` gives every public module as an attribute, always the same ones.
"""

from jnas import (
    data,
    directions,
    discrete,
    export,
    gradient,
    models,
    networks,
    ops,
    pieces,
    registry,
    report,
    run,
    search,
    settings,
    spaces,
    studies,
    testing,
    training,
    types,
)
from jnas import moved as _moved
from jnas.discrete import comparison, controllers, objectives, tables
from jnas.discrete import shared_weights as sharing
from jnas.gradient import (
    bilevel,
    curvature,
    methods,
    perturbations,
    regularizers,
    relaxations,
    selections,
)
from jnas.models import load as load_model
from jnas.models import load_supernet
from jnas.registry import load_plugins
from jnas.spaces import drawing
from jnas.spaces import genotype_text as genotype
from jnas.spaces import published as zoo
from jnas.training import optimizers, program, timing
from jnas.training import scratch as retrain

__all__ = [
    "bilevel",
    "comparison",
    "controllers",
    "curvature",
    "data",
    "directions",
    "discrete",
    "drawing",
    "export",
    "genotype",
    "gradient",
    "load_model",
    "load_plugins",
    "load_supernet",
    "methods",
    "models",
    "networks",
    "objectives",
    "ops",
    "optimizers",
    "perturbations",
    "pieces",
    "program",
    "registry",
    "regularizers",
    "relaxations",
    "report",
    "retrain",
    "run",
    "search",
    "selections",
    "settings",
    "sharing",
    "spaces",
    "studies",
    "tables",
    "testing",
    "timing",
    "training",
    "types",
    "zoo",
]
__version__ = "0.1.0"

_moved.install()
