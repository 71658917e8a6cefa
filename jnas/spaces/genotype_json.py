"""The JSON form of a genotype, read strictly.

Version 1 holds cells. An optional key ``skeleton`` names the network that they are put
into where it is not that of the papers, so that a file tells it without its space.
Version 2 holds the choices of a space that is not one of cells.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from jnas import registry
from jnas.spaces import genotype as rules
from jnas.spaces import genotype_strings as strings
from jnas.spaces.genotype import Cell, Genotype
from jnas.spaces.genotype_choices import Choices, space_of

SKELETON = "skeleton"
FORMAT = "jnas.genotype"
VERSION, CHOICES = 1, 2  # of cells, of choices
MAX_DEPTH = 8  # a genotype file nests 5 deep

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def to_json(genotype: Genotype | Choices) -> str:
    """Returns the text of a ``genotype.json``, one edge or choice per line."""
    if isinstance(genotype, Choices):
        head = {"format": FORMAT, "version": CHOICES, "space": genotype.space}
        lines = [f"\n  {json.dumps(n)}: {json.dumps(o)}" for n, o in genotype.choices]
        return json.dumps(head)[:-1] + ',\n "choices": {' + ",".join(lines) + "\n }}\n"
    cells = [
        f'  {json.dumps(name)}: {{\n   "edges": [{_lines(cell.edges)}],\n'
        f'   "concat": {json.dumps(cell.concat)}}}'
        for name, cell in genotype.cells
    ]
    head = {"format": FORMAT, "version": VERSION, "space": genotype.space}
    if genotype.skeleton != rules.PAPERS:
        head[SKELETON] = genotype.skeleton
    return json.dumps(head)[:-1] + ',\n "cells": {\n' + ",\n".join(cells) + "\n }}\n"


def from_json(
    text: str, *, operations: Collection[str] | None = None
) -> Genotype | Choices:
    """Parses the text of a ``genotype.json``, strictly.

    Nothing is guessed, repaired or ignored: an unknown key is an error too. Choices are
    checked against their space where it is registered.

    Args:
      text: the file's text.
      operations: the allowed names of operations; None allows those of
        ``registry.OPERATIONS``, or any name while that registry is empty. A skeleton
        is one of ``registry.SKELETONS``, likewise.

    Raises:
      GenotypeError: the text breaks a rule of the format.

    Example:
      >>> cell = Cell(edges=((0, 2, "skip_connect"),), concat=(2,))
      >>> genotype = Genotype("mine", (("normal", cell),))
      >>> from_json(to_json(genotype), operations=["skip_connect"]) == genotype
      True
    """
    document = _parse(text)
    if isinstance(document, dict) and "choices" in document:
        return _read_choices(document)
    keys = ("format", "version", "space", "cells")
    keys += (SKELETON,) if isinstance(document, dict) and SKELETON in document else ()
    _check_keys("genotype", document, keys)
    _check_head(document, VERSION)
    ok = isinstance(document["cells"], dict)
    rules.check(ok, "cells", "be an object", document["cells"])
    cells = []
    for name, fields in document["cells"].items():
        rules.check_name("cell name", name)
        cells.append((name, _read_cell(f"cells.{name}", fields)))
    skeleton = _skeleton(document[SKELETON]) if SKELETON in document else None
    genotype = Genotype(document["space"], tuple(cells), file_skeleton=skeleton)
    strings.check_operations(genotype, operations)
    return genotype


def _read_choices(document: Mapping[str, Any]) -> Choices:
    """Reads version 2."""
    _check_keys("genotype", document, ("format", "version", "space", "choices"))
    _check_head(document, CHOICES)
    choices = document["choices"]
    rules.check(isinstance(choices, dict), "choices", "be an object", choices)
    genotype = Choices(document["space"], tuple(choices.items()))
    if genotype.space in list(registry.SPACES):
        space_of(genotype)  # raises
    return genotype


def _check_head(document: Mapping[str, Any], version: int) -> None:
    ok = document["format"] == FORMAT
    rules.check(ok, "format", f"be {FORMAT!r}", document["format"])
    ok = type(document["version"]) is int and document["version"] == version
    todo = "Read it with the jnas that wrote it."
    rules.check(ok, "version", f"be {version}", document["version"], todo)


def _skeleton(name: Any) -> str:
    """Returns a skeleton's name; refuses one that is not registered."""
    rules.check_name(SKELETON, name)
    known = list(registry.SKELETONS)  # empty until the networks are imported
    if known and name not in known:
        nearest = registry.nearest(name, known).strip()
        todo = f"{nearest} --plugins names the file that registers another.".strip()
        rule = f"be one of {', '.join(known)}"
        raise rules.error(SKELETON, rule, name, todo)
    return name


def _parse(text: str) -> Any:
    """Returns the JSON value; raises also where json.loads would accept the text."""
    rules.check(isinstance(text, str), "genotype", "be text", text)
    size = len(text.encode("utf-8", "surrogatepass"))
    rule = f"be at most {strings.MAX_BYTES} bytes"
    rules.check(
        size <= strings.MAX_BYTES, "genotype", rule, rules.Plain("a longer one")
    )
    rule = f"nest at most {MAX_DEPTH} deep"
    rules.check(_depth(text) <= MAX_DEPTH, "genotype", rule, text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_short_int,
            parse_constant=_no_constant,
        )
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise rules.error("genotype", "be JSON", rules.Plain(where)) from None
    except RecursionError:
        raise rules.error("genotype", rule, text) from None


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in re.findall(r"[][{}]", _STRING.sub("", text)):
        depth += 1 if character in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = {}
    for name, value in pairs:
        rules.check(name not in fields, "keys", "be different", name, "Remove one.")
        fields[name] = value
    return fields


def _short_int(digits: str) -> int:
    rules.check(
        len(digits) <= 9, "numbers", "have at most 9 digits", rules.Plain(digits)
    )
    return int(digits)


def _no_constant(name: str) -> None:
    raise rules.error("numbers", "be finite", rules.Plain(name))


def _read_cell(where: str, fields: Any) -> Cell:
    _check_keys(where, fields, ("edges", "concat"))
    for key in ("edges", "concat"):
        ok = isinstance(fields[key], list)
        rules.check(ok, f"{where}.{key}", "be a list", fields[key])
    edges = tuple(
        tuple(edge) if isinstance(edge, list) else edge for edge in fields["edges"]
    )
    return strings.located(where, edges, tuple(fields["concat"]))


def _check_keys(where: str, fields: Any, keys: tuple[str, ...]) -> None:
    rules.check(isinstance(fields, Mapping), where, "be an object", fields)
    rule = f"have exactly the keys {', '.join(keys)}"
    rules.check(set(fields) == set(keys), where, rule, list(fields))


def _lines(edges: tuple) -> str:
    return ",".join(f"\n    {json.dumps(edge)}" for edge in edges)
