"""Registries of named pieces, and plug-in files by which users add their own."""

import difflib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns "Did you mean 'x'? " for the known name closest to name, or "".

    Initials count as the whole name: ``lr`` is ``learning_rate``.

    Args:
      name: the name that the user wrote.
      known: the names that exist.

    Example:
      >>> nearest("lr", ["layers", "learning_rate", "logits_learning_rate"])
      "Did you mean 'learning_rate'? "
    """
    known = list(known)
    asked = name.lower().replace("-", "_")
    close = sorted(one for one in known if _initials(one) == asked and len(asked) > 1)
    close += difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    inside = [
        one for one in known if asked in one.split("_") or one in asked.split("_")
    ]
    if close or inside:
        return f"Did you mean {(close + inside)[0]!r}? "
    return ""


def _initials(name: str) -> str:
    return "".join(word[:1] for word in name.lower().split("_"))


class Registry(Mapping[str, Any]):
    """A mapping from names to functions or classes, filled by a decorator.

    The key is the entry's ``__name__`` unless another is given. Looking up an unknown
    name raises KeyError with one line that lists all names and suggests the closest.

    Example:
      >>> shapes = Registry("shape")
      >>> @shapes.register
      ... def circle():
      ...     return 1
      >>> list(shapes)
      ['circle']
    """

    def __init__(self, kind: str, others: "Registry | None" = None):
        """Makes an empty registry.

        Args:
          kind: names its entries in error messages.
          others: registry whose entries belong to it too.
        """
        self.kind = kind
        self._others = others
        self._entries: dict[str, Any] = {}

    def register(self, thing: Any = None, *, name: str | None = None) -> Any:
        """Adds an entry, as ``@register`` or ``@register(name=...)``.

        Args:
          thing: a function or class; None in ``@register(name=...)``.
          name: its key; None means ``thing.__name__``.

        Returns:
          ``thing`` itself.

        Raises:
          ValueError: the name is taken.
        """
        if thing is None:
            return lambda thing: self.register(thing, name=name)
        key = name or thing.__name__
        if key in self and not _same_source(self[key], thing):
            raise ValueError(
                f"{self.kind} must have a new name, got {key!r}, which is taken. "
                "Rename yours."
            )
        self._entries[key] = thing
        return thing

    def __getitem__(self, name: str) -> Any:
        """Returns the entry of that name; raises KeyError with a suggestion."""
        known = self._known()
        if name not in known:
            raise UnknownName(
                f"{self.kind} must be one of {', '.join(known) or '(none)'}, "
                f"got {name!r}. {nearest(name, known)}".rstrip()
            )
        return known[name]

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names, in the order of registration."""
        return iter(self._known())

    def __len__(self) -> int:
        """Returns the number of entries."""
        return len(self._known())

    def _known(self) -> dict[str, Any]:
        """Returns all entries, those of the other registry first."""
        return (
            self._entries
            if self._others is None
            else self._others._known() | (self._entries)
        )


class UnknownName(KeyError):
    """A name that is not registered; prints without the quotes of KeyError."""

    def __str__(self) -> str:
        """Returns the message."""
        return self.args[0]


def _same_source(old: Any, new: Any) -> bool:
    """True where one source was run twice, as in notebooks: the newer entry wins.

    A notebook cell defines names in ``__main__``, and each edit has another file name.
    """

    def where(thing):
        code = getattr(thing, "__code__", None)
        file = None if thing.__module__ == "__main__" else code and code.co_filename
        return (thing.__qualname__, thing.__module__, file)

    return where(old) == where(new)


OPERATIONS = Registry("operation")  # name -> types.Operation
RELAXATIONS = Registry("relaxation")  # name -> types.Relaxation
PERTURBATIONS = Registry("perturbation")  # name -> types.Perturbation
REGULARIZERS = Registry("regularizer")  # name -> types.Regularizer
HYPERGRADIENTS = Registry("hypergradient")  # name -> types.Hypergradient
ALTERNATIONS = Registry("alternation")  # name -> types.Alternation
# name -> (train_loss, valid_loss, *, params_optimizer, logits_optimizer,
# hypergradient) -> types.Bilevel
ORDERS = Registry("order")
PROGRESS = Registry("progress")  # name -> types.Progress
# name -> (weight_regularizers.Problem, **numbers) -> types.WeightRegularizer
WEIGHT_REGULARIZERS = Registry("weight regularizer")
HOOKS = Registry("hook")  # name -> (hooks.hook.Search, **numbers) -> Hook or None
OPTIMIZERS = Registry("optimizer")  # name -> (learning_rate, **numbers) -> Optax's
# those of OPTIMIZERS, and those that need logits: the rows of a simplex
LOGITS_OPTIMIZERS = Registry("optimizer of logits", OPTIMIZERS)
CONTROLLERS = Registry("controller")  # name -> (sizes, **settings) -> Controller
SPACES = Registry("space")  # name -> () -> spaces.Space
SUPERNETS = Registry("supernet")  # name -> (space, size, **options) -> Supernet
DERIVED = Registry("derived network")  # supernet -> (genotype, size, ...) -> Network
# name of a supernet -> (space, size, **options) -> (weights -> Network)
SWITCHED = Registry("switched network")
# name of a supernet -> (space, size, image_shape) -> networks.costs.spots' list
SPOTS = Registry("list of candidates")
TASKS = Registry("task")  # name -> (data.Targets) -> data.Task
DATASETS = Registry("data set")  # name -> () -> data.Dataset
SELECTIONS = Registry("selection")  # name -> types.Selection
OBJECTIVES = Registry("objective")  # name -> (objectives.Problem) -> types.Objective
TABLES = Registry("table")  # name -> () -> tables.Table
METHODS = Registry("method")  # name -> () -> Method
SKELETONS = Registry("skeleton")  # name -> (num_inputs) -> skeletons.Skeleton
STEMS = Registry("stem")  # name -> (num_inputs, features, channels) -> stems.Stem
OBSERVERS = Registry("observer")  # name -> (workdir) -> (line of metrics.jsonl) -> ...
BASELINES = Registry("baseline")  # name -> networks.baselines.Baseline
# name of a JAX primitive -> (graph, inputs, outputs, params) -> its ONNX nodes' value;
# see export/onnx/walk.py
ONNX = Registry("ONNX writer")
ARCHITECTURES = Registry("architecture")  # kind -> (JSON fields) -> models.Architecture


def load_plugins(paths: Iterable[str]) -> None:
    """Runs each Python file once, so that its decorators register its pieces.

    Args:
      paths: files ending in .py.

    Raises:
      ValueError: a path is not an existing .py file, or the file fails to run.
    """
    for path in map(pathlib.Path, paths):
        if path.suffix != ".py" or not os.path.isfile(path):
            raise ValueError(
                f"plugins must name existing .py files, got {str(path)!r}. "
                "Check the path."
            )
        name = f"jnas_plugin_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        _run(spec.loader.exec_module, module, path)


def _run(execute: Callable, module: Any, path: pathlib.Path) -> None:
    try:
        execute(module)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"plugins must run, got {type(error).__name__}: {error} in {str(path)!r}. "
            "Run the file with python to see the traceback."
        ) from error
