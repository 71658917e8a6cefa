"""Imports point down the floors, wings are blind, only ops and networks use Flax."""

import ast
import pathlib
import subprocess
import sys
import warnings

import pytest

import jnas

ROOT = pathlib.Path(jnas.__file__).parent
FLOORS = [
    {"types", "registry", "pieces", "settings", "directions", "caches"},
    {"spaces", "ops", "data"},
    {"networks", "report"},
    {"training", "testing"},
    {"models"},
    {"run", "gradient", "discrete", "export"},
    {"search"},  # the names of two wings in one place
    {"studies", "bench"},
    {"endurance"},
]
# rooms of one floor that must not know each other
BLIND = [
    {"spaces", "ops", "data"},
    {"networks", "report"},
    {"run", "gradient", "discrete", "export"},
    {"report", "gradient", "discrete"},  # a report reads files and knows no method
]
FLAX = {"ops", "networks"}
# a room that can be read without the rest: all that it may import
ALONE = {
    "run": {
        "types",
        "registry",
        "caches",
        "data.residence",
        "training.program",
        "training.placement",
    }
}
OUTSIDE = {"studies": {"bench", "endurance"}}  # who in jnas may import it
FACES = {"__init__", "moved"}  # they hand names on, and import everything


def room_of(path):
    """Returns the name of a file's room."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def floor(room):
    """Returns the number of a room's floor."""
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def imports():
    """Yields (file, its room, an imported module's dotted name)."""
    for path in sorted(ROOT.rglob("*.py")):
        room = room_of(path)
        if room in FACES:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield path, room, alias.name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    yield path, room, f"{node.module}.{alias.name}"


def wrong(found):
    """Lists the imports that break the house's rules."""
    bad = []
    for path, room, name in found:
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if top == "flax" and room not in FLAX:
            bad.append(f"{path.name} of {room} imports flax")
        if top != "jnas" or not other or other in (room, "__version__"):
            continue
        if floor(other) > floor(room):
            bad.append(f"{room} imports {other}, which is above it")
        elif any({room, other} <= blind for blind in BLIND):
            bad.append(f"{room} imports {other}, to which it must be blind")
        elif room in ALONE and not any(
            f"{rest}.".startswith(f"{one}.") for one in ALONE[room]
        ):
            bad.append(f"{room} imports {rest}, and may import {ALONE[room]} alone")
        elif other in OUTSIDE and room not in OUTSIDE[other]:
            bad.append(f"{room} imports {other}, which is for {OUTSIDE[other]} alone")
    return bad


def test_imports_point_down():
    """No import upwards, none between rooms that must not know each other."""
    assert wrong(imports()) == []


def test_no_cycle_between_rooms():
    """Rooms on one floor may import each other one way only."""
    graph = {}
    for _, room, name in imports():
        if name.startswith("jnas."):
            graph.setdefault(room, set()).add(name.split(".")[1])
    assert not cycles(graph)


def test_no_cycle_inside_a_room():
    """Nor may the packages of a room."""
    graph = {}
    for path, _, name in imports():
        source = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for target in (name, name.rpartition(".")[0]):
            file = ROOT.parent.joinpath(*target.split(".")).with_suffix(".py")
            if file.exists() and target != source:
                graph.setdefault(source, set()).add(target)
    assert len(graph) > 100 and not cycles(graph)


def cycles(graph):
    """Returns the names that reach themselves."""

    def reach(name, seen):
        for other in graph.get(name, set()) - {name} - seen:
            seen.add(other)
            reach(other, seen)
        return seen

    return [
        name
        for name, others in graph.items()
        if any(name in reach(other, {other}) for other in others - {name})
    ]


def test_the_rules_can_be_broken():
    """Each rule catches its breach."""
    here = pathlib.Path("x.py")
    for room, name in [
        ("ops", "jnas.search"),
        ("data", "jnas.ops"),
        ("discrete", "flax.nnx"),
        ("run", "jnas.spaces.drawing"),
        ("run", "jnas.training.scratch"),
        ("run", "jnas.gradient.segments"),
        ("discrete", "jnas.gradient"),
        ("gradient", "jnas.run.phase"),
        ("report", "jnas.gradient.methods"),
        ("discrete", "jnas.studies.cells"),
    ]:
        assert wrong([(here, room, name)]), (room, name)
    for room, name in [
        ("studies", "jnas.networks"),
        ("ops", "flax.nnx"),
        ("run", "jnas.training.program"),
        ("bench", "jnas.studies.setup"),
    ]:
        assert not wrong([(here, room, name)]), (room, name)
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def test_every_room_has_a_floor_and_no_drawer():
    """A new room is given a floor here; none is a drawer."""
    for path in ROOT.rglob("*.py"):
        assert path.stem not in {"utils", "util", "helpers", "common", "core", "misc"}
        assert room_of(path) in FACES or floor(room_of(path)) >= 0


def test_no_file_warns_when_it_is_compiled():
    """As an invalid escape in a docstring does, on Python 3.12 in every launcher."""
    files = [path for name in ("jnas", "experiments", "tests")
             for path in (ROOT.parent / name).rglob("*.py")]  # fmt: skip
    assert len(files) > 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in files:
            ast.parse(path.read_text(), str(path))
        with pytest.raises(SyntaxError, match="invalid escape"):
            ast.parse(r"'\ '")


PUBLIC = """
bilevel caches comparison controllers curvature data directions discrete drawing export
genotype gradient methods models networks objectives ops optimizers perturbations
pieces program registry regularizers relaxations report retrain run search selections
settings sharing spaces studies tables testing timing training types zoo
""".split()


def test_jnas_alone_gives_every_public_module():
    """The same ones, whatever else was imported before; old names are today's modules.

    In a process of its own, for this one has imported more.
    """
    code = """
import importlib, types
import jnas
print(*sorted(k for k, v in vars(jnas).items()
              if isinstance(v, types.ModuleType) and k[0] != "_"))
for old, today in jnas.moved.MODULES.items():
    assert importlib.import_module(old) is importlib.import_module(today), old
    assert importlib.import_module(old).__spec__.name == today, old
from jnas.run import cells, closing, compare, gradient, training
from jnas.controllers import draws
import jnas.controllers.draws as again
assert draws is again is jnas.discrete.controllers.draws
from jnas.search import best, check, discrete_search, legs
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted([*PUBLIC, "moved"])
