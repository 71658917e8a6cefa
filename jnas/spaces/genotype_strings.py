"""The strings of two papers: that of NAS-Bench-201, and the one that DARTS prints."""

import re
from collections.abc import Collection

from jnas import registry
from jnas.spaces import genotype as rules
from jnas.spaces.genotype import Cell, Genotype

MAX_BYTES = 1_000_000

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
_DARTS_BODY = re.compile(
    rf"Genotype\(\s*+normal\s*+=\s*+({_ENTRIES})\s*+,"
    rf"\s*+normal_concat\s*+=\s*+({_STATES})\s*+,\s*+reduce\s*+=\s*+({_ENTRIES})\s*+,"
    rf"\s*+reduce_concat\s*+=\s*+({_STATES})\s*+,?\s*+\)"
)
_DARTS = re.compile(rf"\s*+(?:\w++\s*+=\s*+)?{_DARTS_BODY.pattern}\s*+")
_ASSIGNED = re.compile(r"(\w+)[ \t]*=[ \t]*$")


def to_nasbench201(genotype: Genotype, *, missing: str | None = None) -> str:
    """Returns NAS-Bench-201's string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``.

    Args:
      genotype: the genotype.
      missing: the operation of an edge that the cell lacks; None refuses such cells.

    Raises:
      GenotypeError: the genotype is not one cell with each of the six edges once.

    Example:
      >>> cell = Cell(((0, 1, "a"), (1, 3, "b")), (3,))
      >>> to_nasbench201(Genotype("mine", (("cell", cell),)), missing="none")
      '|a~0|+|none~0|none~1|+|none~0|b~1|none~2|'
    """
    (_, cell), *others = genotype.cells
    operations = {edge[:2]: edge[2] for edge in cell.edges}
    ok = not others and len(operations) == len(cell.edges) and cell.concat == (3,)
    if missing is not None:
        operations = dict.fromkeys(_NASBENCH201_EDGES, missing) | operations
    ok = ok and set(operations) == set(_NASBENCH201_EDGES)
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
    check_operations(genotype, operations)
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
        last = max([*cell.concat, *(to for _, to, _ in edges)])
        nodes = range(2, last + 1)
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
        cells.append((name, located(name, edges, numbers)))
    genotype = Genotype(space, tuple(cells))
    check_operations(genotype, operations)
    return genotype


def find_darts(text: str) -> list[tuple[str, str]]:
    """Finds the strings that DARTS prints in a Python file or a log.

    Args:
      text: of the file; nothing in it is evaluated. A comment's are left out.

    Returns:
      (name, string) of each, in order; the name it is assigned to, or "".
    """
    found = []
    for start in re.finditer(r"\bGenotype\(", text):
        before = text[text.rfind("\n", 0, start.start()) + 1 : start.start()]
        match = _DARTS_BODY.match(text, start.start())
        if match and "#" not in before:
            name = _ASSIGNED.search(before[-200:])
            found.append((name[1] if name else "", match[0]))
    return found


def located(where: str, edges: tuple, concat: tuple) -> Cell:
    """Makes a cell; its errors begin with ``where``."""
    try:
        return Cell(edges, concat)
    except rules.GenotypeError as error:
        raise rules.GenotypeError(f"{rules.escape(where)}.{error}") from None


def check_operations(genotype: Genotype, known: Collection[str] | None) -> None:
    """Raises GenotypeError for an unknown operation; None allows the registered."""
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
