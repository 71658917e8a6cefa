"""The module names of 0.1, which later releases moved: they still import.

``from jnas.run import cells`` and ``import jnas.controllers.draws`` give the modules of
today, the same objects; nothing is loaded twice.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from types import ModuleType

MODULES = {
    "jnas.bilevel": "jnas.gradient.bilevel",
    "jnas.comparison": "jnas.discrete.comparison",
    "jnas.controllers": "jnas.discrete.controllers",
    "jnas.curvature": "jnas.gradient.curvature",
    "jnas.drawing": "jnas.spaces.drawing",
    "jnas.genotype": "jnas.spaces.genotype_text",
    "jnas.methods": "jnas.gradient.methods",
    "jnas.networks.assembly": "jnas.networks.layers",
    "jnas.networks.mixed": "jnas.networks.mixture",
    "jnas.networks.plan": "jnas.networks.skeleton",
    "jnas.networks.walk": "jnas.networks.edge_scan",
    "jnas.objectives": "jnas.discrete.objectives",
    "jnas.ops.dense": "jnas.ops.kernels.dense",
    "jnas.ops.pool_forms": "jnas.ops.kernels.pool_forms",
    "jnas.ops.primitives": "jnas.ops.kernels.trilinear",
    "jnas.ops.window_forms": "jnas.ops.kernels.window_forms",
    "jnas.ops.windows": "jnas.ops.kernels.windows",
    "jnas.optimizers": "jnas.training.optimizers",
    "jnas.perturbations": "jnas.gradient.perturbations",
    "jnas.program": "jnas.training.program",
    "jnas.regularizers": "jnas.gradient.regularizers",
    "jnas.relaxations": "jnas.gradient.relaxations",
    "jnas.report.pieces": "jnas.studies.methods_table",
    "jnas.retrain": "jnas.training.scratch",
    "jnas.run.benchmark_discrete": "jnas.bench.discrete",
    "jnas.run.benchmark_figures": "jnas.bench.figures",
    "jnas.run.benchmark_steps": "jnas.bench.steps",
    "jnas.run.cells": "jnas.studies.cells",
    "jnas.run.closing": "jnas.studies.closing",
    "jnas.run.compare": "jnas.studies.compare_controllers",
    "jnas.run.compare_methods": "jnas.studies.compare_methods",
    "jnas.run.discrete": "jnas.studies.search_discrete",
    "jnas.run.door": "jnas.run.folder",
    "jnas.run.gradient": "jnas.studies.search_gradient",
    "jnas.run.keys": "jnas.studies.keys",
    "jnas.run.leaves": "jnas.run.arrays",
    "jnas.run.method_flags": "jnas.studies.flags",
    "jnas.run.plain_loops": "jnas.bench.plain_loops",
    "jnas.run.rounds": "jnas.studies.rounds",
    "jnas.run.tabulate": "jnas.studies.make_table",
    "jnas.run.training": "jnas.studies.train_scratch",
    "jnas.search.discrete": "jnas.discrete.search",
    "jnas.search.gradient": "jnas.gradient.search",
    "jnas.search.losses": "jnas.gradient.losses",
    "jnas.search.mixing": "jnas.gradient.mixing",
    "jnas.search.pieces": "jnas.gradient.resolve",
    "jnas.search.plan": "jnas.gradient.segments",
    "jnas.search.projection": "jnas.gradient.hooks.projection",
    "jnas.search.rising": "jnas.gradient.hooks.rise",
    "jnas.search.watching": "jnas.gradient.hooks.watch",
    "jnas.selections": "jnas.gradient.selections",
    "jnas.sharing": "jnas.discrete.shared_weights",
    "jnas.tables": "jnas.discrete.tables",
    "jnas.timing": "jnas.training.timing",
    "jnas.zoo": "jnas.spaces.published",
}


_CHOICE = "jnas.discrete.tables.choice"
_NAMES = {  # (module, name) -> where it is today
    ("jnas.report", "methods_table"): "jnas.studies.methods_table",
    ("jnas.studies.compare_controllers", "check_metrics"): _CHOICE,
    ("jnas.studies.compare_controllers", "load_table"): _CHOICE,
}


def install() -> None:
    """Lets Python import the old names; more than once is allowed."""
    for (module, name), today in _NAMES.items():
        value = getattr(importlib.import_module(today), name)
        setattr(importlib.import_module(module), name, value)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())  # else old packages would load files twice


def _today(name: str) -> str | None:
    """The name of today of a module or of one inside a package that moved."""
    for old in (name, name.rpartition(".")[0]):
        if old in MODULES:
            return MODULES[old] + name.removeprefix(old)
    return None


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of today under its old name."""

    def find_spec(self, fullname, path=None, target=None):
        today = _today(fullname)
        if today is None or importlib.util.find_spec(today) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=today)

    def create_module(self, spec) -> ModuleType:
        module = importlib.import_module(spec.origin)
        self._spec = module.__spec__
        return module

    def exec_module(self, module) -> None:
        module.__spec__ = self._spec  # Python has put the old name's there
