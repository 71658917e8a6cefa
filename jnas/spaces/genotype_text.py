"""Text formats of a genotype: strict JSON, and the strings of two papers."""

import json
import os
import pathlib
import re
import tempfile
from collections.abc import Collection, Mapping
from typing import Any

from jnas import registry
from jnas.spaces import genotype as rules
from jnas.spaces.genotype import MAX_NAME as MAX_NAME
from jnas.spaces.genotype import MAX_STATES as MAX_STATES
from jnas.spaces.genotype import Cell as Cell
from jnas.spaces.genotype import Genotype as Genotype
from jnas.spaces.genotype import GenotypeError as GenotypeError

FORMAT = "jnas.genotype"
VERSION = 1
MAX_BYTES = 1_000_000
MAX_DEPTH = 8  # a genotype file nests 5 deep

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NASBENCH201_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_NASBENCH201_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
_NASBENCH201 = re.compile(re.escape(_NASBENCH201_FORM).replace("op", r"([^|~+]+)"))
_NUMBER = r"[0-9]{1,4}"
_ENTRY = rf"\(\s*+(?:'\w++'|\"\w++\")\s*+,\s*+{_NUMBER}\s*+\)"
_LIST = r"\[\s*+(?:{}\s*+(?:,\s*+|(?=\])))*+\]"  # possessive, so linear in the text
_ENTRIES = _LIST.replace("{}", _ENTRY)
_NUMBERS = _LIST.replace("{}", _NUMBER)
_STATES = rf"(?:range\(\s*+{_NUMBER}\s*+,\s*+{_NUMBER}\s*+\)|{_NUMBERS})"
_DARTS_FORM = (
    "Genotype(normal=[('op', 0), ...], normal_concat=range(2, 6), "
    "reduce=[...], reduce_concat=...)"
)
_DARTS = re.compile(
    rf"\s*+(?:\w++\s*+=\s*+)?Genotype\(\s*+normal\s*+=\s*+({_ENTRIES})\s*+,"
    rf"\s*+normal_concat\s*+=\s*+({_STATES})\s*+,\s*+reduce\s*+=\s*+({_ENTRIES})\s*+,"
    rf"\s*+reduce_concat\s*+=\s*+({_STATES})\s*+,?\s*+\)\s*+"
)


def to_json(genotype: Genotype) -> str:
    """Returns the text of a ``genotype.json``, one edge per line."""
    cells = [
        f'  {json.dumps(name)}: {{\n   "edges": [{_lines(cell.edges)}],\n'
        f'   "concat": {json.dumps(cell.concat)}}}'
        for name, cell in genotype.cells
    ]
    head = {"format": FORMAT, "version": VERSION, "space": genotype.space}
    return json.dumps(head)[:-1] + ',\n "cells": {\n' + ",\n".join(cells) + "\n }}\n"


def from_json(text: str, *, operations: Collection[str] | None = None) -> Genotype:
    """Parses the text of a ``genotype.json``, strictly.

    Nothing is guessed, repaired or ignored: an unknown key is an error too.

    Args:
      text: the file's text.
      operations: the allowed names of operations; None allows those of
        ``registry.OPERATIONS``, or any name while that registry is empty.

    Raises:
      GenotypeError: the text breaks a rule of the format.

    Example:
      >>> cell = Cell(edges=((0, 2, "skip_connect"),), concat=(2,))
      >>> genotype = Genotype("mine", (("normal", cell),))
      >>> from_json(to_json(genotype), operations=["skip_connect"]) == genotype
      True
    """
    document = _parse(text)
    _check_keys("genotype", document, ("format", "version", "space", "cells"))
    ok = document["format"] == FORMAT
    rules.check(ok, "format", f"be {FORMAT!r}", document["format"])
    ok = type(document["version"]) is int and document["version"] == VERSION
    todo = "Read it with the jnas that wrote it."
    rules.check(ok, "version", f"be {VERSION}", document["version"], todo)
    ok = isinstance(document["cells"], dict)
    rules.check(ok, "cells", "be an object", document["cells"])
    cells = []
    for name, fields in document["cells"].items():
        rules.check_name("cell name", name)
        cells.append((name, _read_cell(f"cells.{name}", fields)))
    genotype = Genotype(document["space"], tuple(cells))
    _check_operations(genotype, operations)
    return genotype


def load(
    path: str | os.PathLike, *, operations: Collection[str] | None = None
) -> Genotype:
    """Reads a ``genotype.json``; see ``from_json``.

    Raises:
      GenotypeError: the file cannot be read, or it breaks a rule of the format.
    """
    try:
        if not os.path.isfile(path):  # opening a pipe would block forever
            raise FileNotFoundError
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        return from_json(data.decode("utf-8"), operations=operations)
    except UnicodeDecodeError:
        raise rules.error("genotype", "be UTF-8 text", str(path)) from None
    except (OSError, ValueError) as error:
        if isinstance(error, GenotypeError):
            raise
        todo = "Check the path."
        raise rules.error("genotype", "name a readable file", str(path), todo) from None


def save(path: str | os.PathLike, genotype: Genotype) -> None:
    """Writes a ``genotype.json`` atomically: readers see the old or the new file."""
    path = pathlib.Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(to_json(genotype))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0o600 would hide it from other users
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def to_nasbench201(genotype: Genotype) -> str:
    """Returns NAS-Bench-201's string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``.

    Raises:
      GenotypeError: the genotype is not one cell with each of the six edges once.
    """
    cells = [cell for _, cell in genotype.cells]
    operations = {edge[:2]: edge[2] for edge in cells[0].edges}
    edges = sorted((edge[:2] for edge in cells[0].edges), key=lambda edge: edge[::-1])
    ok = len(cells) == 1 and tuple(edges) == _NASBENCH201_EDGES
    rule = "be one cell with edges 0-1, 0-2, 1-2, 0-3, 1-3 and 2-3"
    rules.check(ok, "genotype", rule, genotype)
    nodes = (
        "|" + "".join(f"{operations[i, node]}~{i}|" for i in range(node))
        for node in (1, 2, 3)
    )
    return "+".join(nodes)


def from_nasbench201(
    string: str, *, operations: Collection[str] | None = None
) -> Genotype:
    """Parses NAS-Bench-201's string; every edge is kept, those of ``none`` included.

    Args:
      string: the architecture as the benchmark writes it.
      operations: the allowed names of operations, as for ``from_json``.

    Raises:
      GenotypeError: the string has not this format.

    Example:
      >>> from_nasbench201("|a~0|+|b~0|c~1|+|d~0|e~1|f~2|",
      ...                  operations="abcdef").cell("cell").edges[1]
      (0, 2, 'b')

    Source: Dong and Yang, 2020, arXiv:2001.00326, appendix.
    """
    match = isinstance(string, str) and _NASBENCH201.fullmatch(string)
    rules.check(match, "string", f"have the form {_NASBENCH201_FORM}", string)
    edges = zip(_NASBENCH201_EDGES, match.groups(), strict=True)
    cell = Cell(tuple((*edge, operation) for edge, operation in edges), (3,))
    genotype = Genotype("nasbench201", (("cell", cell),))
    _check_operations(genotype, operations)
    return genotype


def to_darts(genotype: Genotype) -> str:
    """Returns the string that the DARTS repository prints and reads.

    Raises:
      GenotypeError: the cells are not normal and reduce, or a node does not have two
        edges.
    """
    names = [name for name, _ in genotype.cells]
    rules.check(names == ["normal", "reduce"], "cells", "be normal and reduce", names)
    parts = []
    for name, cell in genotype.cells:
        edges = sorted(cell.edges, key=lambda edge: edge[1])  # stable: keeps the order
        nodes = range(2, 2 + cell.num_nodes)
        ok = [to for _, to, _ in edges] == [node for node in nodes for _ in "ab"]
        rules.check(ok, f"{name} cell", "give each node two edges", cell.edges)
        for _, _, operation in edges:
            ok = re.fullmatch(r"\w+", operation)
            rules.check(ok, "operation", "be letters, digits and _", operation)
        pairs = [(operation, source) for source, _, operation in edges]
        first, last = cell.concat[0], cell.concat[-1]
        solid = cell.concat == tuple(range(first, last + 1))
        concat = range(first, last + 1) if solid else list(cell.concat)
        parts += [f"{name}={pairs}", f"{name}_concat={concat}"]
    return f"Genotype({', '.join(parts)})"


def from_darts(
    text: str, *, space: str = "darts", operations: Collection[str] | None = None
) -> Genotype:
    """Parses the string that the DARTS repository prints, without evaluating it.

    Args:
      text: ``Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6),
        reduce=[...], reduce_concat=range(2, 6))``, optionally after ``NAME =``; two
        entries per node, in the order of the nodes.
      space: the name of the space.
      operations: the allowed names of operations, as for ``from_json``.

    Raises:
      GenotypeError: the text has not this format.

    Source: Liu et al., 2019, arXiv:1806.09055; its repository's ``genotypes.py``.
    """
    match = isinstance(text, str) and len(text) <= MAX_BYTES and _DARTS.fullmatch(text)
    rules.check(match, "text", f"have the form {_DARTS_FORM}", text)
    cells = []
    for i, name in enumerate(("normal", "reduce")):
        entries = re.findall(r"\(\s*.(\w+).\s*,\s*(\d+)", match[2 * i + 1])
        rule = "have two entries for each node"
        rules.check(len(entries) % 2 == 0, name, rule, match[2 * i + 1])
        edges = tuple((int(e[1]), 2 + j // 2, e[0]) for j, e in enumerate(entries))
        numbers = tuple(map(int, re.findall(r"\d+", match[2 * i + 2])))
        if match[2 * i + 2].startswith("range"):
            numbers = tuple(range(*numbers))
        cells.append((name, _located(name, edges, numbers)))
    genotype = Genotype(space, tuple(cells))
    _check_operations(genotype, operations)
    return genotype


def _parse(text: str) -> Any:
    """Returns the JSON value; raises also where json.loads would accept the text."""
    rules.check(isinstance(text, str), "genotype", "be text", text)
    size = len(text.encode("utf-8", "surrogatepass"))
    rule = f"be at most {MAX_BYTES} bytes"
    rules.check(size <= MAX_BYTES, "genotype", rule, rules.Plain("a longer one"))
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
    return _located(where, edges, tuple(fields["concat"]))


def _located(where: str, edges: tuple, concat: tuple) -> Cell:
    try:
        return Cell(edges, concat)
    except GenotypeError as error:
        raise GenotypeError(f"{rules.escape(where)}.{error}") from None


def _check_keys(where: str, fields: Any, keys: tuple[str, ...]) -> None:
    rules.check(isinstance(fields, Mapping), where, "be an object", fields)
    rule = f"have exactly the keys {', '.join(keys)}"
    rules.check(set(fields) == set(keys), where, rule, list(fields))


def _check_operations(genotype: Genotype, known: Collection[str] | None) -> None:
    if known is None:
        known = list(registry.OPERATIONS) or None
    if known is None:
        return
    for name, cell in genotype.cells:
        for i, (_, _, operation) in enumerate(cell.edges):
            guess = registry.nearest(operation, known) or "Register it first."
            where = f"cells.{name}.edges[{i}]'s operation"
            rule = f"be one of {', '.join(known)}"
            rules.check(operation in known, where, rule, operation, guess.strip())


def _lines(edges: tuple) -> str:
    return ",".join(f"\n    {json.dumps(edge)}" for edge in edges)
