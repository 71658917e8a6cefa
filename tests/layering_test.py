"""Imports point down the floors only, and only ops and networks import Flax."""

import ast
import pathlib

import jnas

ROOT = pathlib.Path(jnas.__file__).parent
FLOORS = [
    {"types", "registry", "genotype", "timing"},
    {"drawing", "zoo", "methods", "optimizers"},
    {"spaces", "ops", "relaxations", "perturbations", "regularizers", "data"},
    {"networks", "controllers", "bilevel", "curvature", "selections", "tables"},
    {"program"},
    {"retrain"},
    {"objectives"},
    {"search", "sharing"},
    {"comparison"},
    {"run", "report", "testing"},
    {"endurance"},
]
# run's stages read the genotype's drawing and tables through report only in launchers
BLIND = [
    {"spaces", "ops", "relaxations", "perturbations", "data"},
    {"spaces", "ops", "perturbations", "regularizers", "data"},  # they see relaxations
    {"networks", "controllers", "bilevel", "curvature", "selections", "tables"},
]
FLAX = {"ops", "networks"}


def floor(room):
    """Returns the number of a room's floor."""
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def imports():
    """Yields (file, its room, an imported module's dotted name)."""
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room == "__init__":
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

    def reach(room, seen):
        for other in graph.get(room, set()) - {room} - seen:
            seen.add(other)
            reach(other, seen)
        return seen

    for room, others in graph.items():
        for other in others - {room}:
            assert room not in reach(other, set()), f"{room} <-> {other}"


def test_the_rules_can_be_broken():
    """Each rule catches its breach."""
    here = pathlib.Path("x.py")
    assert wrong([(here, "ops", "jnas.search")])
    assert wrong([(here, "data", "jnas.ops")])
    assert wrong([(here, "controllers", "flax.nnx")])
    assert not wrong([(here, "search", "jnas.networks"), (here, "ops", "flax.nnx")])


def test_every_room_has_a_floor_and_no_drawer():
    """A new room is given a floor here; none is a drawer."""
    for path in ROOT.rglob("*.py"):
        assert path.stem not in {"utils", "util", "helpers", "common", "core", "misc"}
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        assert room == "__init__" or floor(room) >= 0
