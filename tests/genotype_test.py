"""Tests of jnas.genotype: what a file may hold, and the forms of other projects."""

import json
import os
import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

from jnas import registry
from jnas.endurance import parser
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text

OPERATIONS = parser.OPERATIONS
FORMS = genotype_text.FORMS

NAMES = st.text(min_size=1, max_size=8).filter(str.isprintable)
EDGES = st.tuples(
    st.integers(0, 6), st.integers(1, 8), st.sampled_from(OPERATIONS)
).filter(lambda edge: edge[0] < edge[1])
CONCATS = st.sets(st.integers(2, 8), min_size=1).map(lambda s: tuple(sorted(s)))
CELLS = st.builds(genotypes.Cell, st.lists(EDGES, max_size=6).map(tuple), CONCATS)
GENOTYPES = st.builds(
    genotypes.Genotype,
    NAMES,
    st.dictionaries(NAMES, CELLS, min_size=1, max_size=3).map(
        lambda d: tuple(d.items())
    ),
)


def document(**changes):
    """Returns a valid document with some of its fields changed."""
    cell = {"edges": [[0, 2, "none"], [1, 2, "skip_connect"]], "concat": [2]}
    fields = {"format": "jnas.genotype", "version": 1, "space": "mine"}
    return fields | {"cells": {"normal": cell}} | changes


def with_cell(**changes):
    """Returns the text of a valid document with a cell's fields changed."""
    cell = document()["cells"]["normal"] | changes
    return json.dumps(document(cells={"normal": cell}))


def with_edge(*edge):
    """Returns the text of a document with that one edge."""
    return with_cell(edges=[list(edge)])


@hypothesis.given(GENOTYPES)
def test_json_round_trip(genotype):
    """What is written is read again, equal and hashable."""
    again = genotype_text.from_json(
        genotype_text.to_json(genotype), operations=OPERATIONS
    )
    assert again == genotype and hash(again) == hash(genotype)
    assert again.canonical().canonical() == genotype.canonical()


def test_format_is_the_documented_one():
    """The file has the keys of the documentation, edges as [from, to, operation]."""
    cell = genotypes.Cell(((1, 2, "none"), (0, 2, "none")), (2, 3))
    text = genotype_text.to_json(genotypes.Genotype("mine", (("normal", cell),)))
    assert json.loads(text) == {
        "format": "jnas.genotype",
        "version": 1,
        "space": "mine",
        "cells": {
            "normal": {"edges": [[1, 2, "none"], [0, 2, "none"]], "concat": [2, 3]}
        },
    }


@hypothesis.given(parser.inputs())
@hypothesis.settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_hostile_files(tmp_path_factory, given):
    """Every text and every file is a genotype or a GenotypeError of one line."""
    parser.check(given, tmp_path_factory.getbasetemp() / "given.json")


def test_genotypes_are_among_the_hostile_files(tmp_path):
    """The search tries both answers."""
    row = parser.search(500, tmp_path, seed=0)
    assert row["tried"] >= 500 and row["survived"] == row["tried"]
    assert 10 < row["genotypes"] < 490


KEYS = "format, version, space, cells"
BAD = {
    "empty": (
        "",
        "genotype must be JSON, got Expecting value at line 1 column 1. Correct it.",
    ),
    "too long": (
        " " * 1_000_001,
        "genotype must be at most 1000000 bytes, got a longer one. Correct it.",
    ),
    "too deep": (
        "[" * 9,
        "genotype must nest at most 8 deep, got '[[[[[[[[['. Correct it.",
    ),
    "much too deep": (
        "[" * 60,
        "genotype must nest at most 8 deep, got '" + "[" * 60 + "'. Correct it.",
    ),
    "not an object": ("[]", "genotype must be an object, got []. Correct it."),
    "equal keys": (
        '{"space": "a", "space": "b"}',
        "keys must be different, got 'space'. Remove one.",
    ),
    "NaN": ('{"space": NaN}', "numbers must be finite, got NaN. Correct it."),
    "-Infinity": (
        '{"space": -Infinity}',
        "numbers must be finite, got -Infinity. Correct it.",
    ),
    "huge integer": (
        '{"version": 1234567890}',
        "numbers must have at most 9 digits, got 1234567890. Correct it.",
    ),
    "extra key": (
        json.dumps(document(author="me")),
        f"genotype must have exactly the keys {KEYS}, got ['format', 'version', "
        "'space', 'cells', 'author']. Correct it.",
    ),
    "missing key": (
        '{"format": "jnas.genotype"}',
        f"genotype must have exactly the keys {KEYS}, got ['format']. Correct it.",
    ),
    "format": (
        json.dumps(document(format="darts")),
        "format must be 'jnas.genotype', got 'darts'. Correct it.",
    ),
    "version": (
        json.dumps(document(version=2)),
        "version must be 1, got 2. Read it with the jnas that wrote it.",
    ),
    "version true": (
        json.dumps(document(version=True)),
        "version must be 1, got True. Read it with the jnas that wrote it.",
    ),
    "space": (
        json.dumps(document(space=7)),
        "space must be 1 to 100 printable characters, got 7. Rename it.",
    ),
    "control character": (
        json.dumps(document(space="a\n\x1b[31m")),
        "space must be 1 to 100 printable characters, got 'a\\n\\x1b[31m'. Rename it.",
    ),
    "lone surrogate": (
        '{"format": "jnas.genotype", "version": 1, "cells": {}, "space": "\\ud800"}',
        "space must be 1 to 100 printable characters, got '\\ud800'. Rename it.",
    ),
    "no cells": (
        json.dumps(document(cells={})),
        "cells must be a tuple of at least one (name, Cell), got (). Correct it.",
    ),
    "cells": (
        json.dumps(document(cells=[])),
        "cells must be an object, got []. Correct it.",
    ),
    "cell name": (
        json.dumps(document(cells={"": {}})),
        "cell name must be 1 to 100 printable characters, got ''. Rename it.",
    ),
    "cell keys": (
        json.dumps(document(cells={"normal": {}})),
        "cells.normal must have exactly the keys edges, concat, got []. Correct it.",
    ),
    "edges": (
        with_cell(edges={}),
        "cells.normal.edges must be a list, got {}. Correct it.",
    ),
    "edge": (
        with_edge(0, 2),
        "cells.normal.edges[0] must be [from, to, operation], got (0, 2). Correct it.",
    ),
    "from above to": (
        with_edge(3, 2, "none"),
        "cells.normal.edges[0] must have `from` below `to`, got (3, 2, 'none'). "
        "Correct it.",
    ),
    "from true": (
        with_edge(True, 2, "none"),
        "cells.normal.edges[0] must have an integer `from` from 0 to 63, got True. "
        "Correct it.",
    ),
    "to out of range": (
        with_edge(0, 64, "none"),
        "cells.normal.edges[0] must have an integer `to` from 0 to 63, got 64. "
        "Correct it.",
    ),
    "float": (
        with_edge(0.0, 2, "none"),
        "cells.normal.edges[0] must have an integer `from` from 0 to 63, got 0.0. "
        "Correct it.",
    ),
    "operation type": (
        with_edge(0, 2, None),
        "cells.normal.edges[0]'s operation must be 1 to 100 printable characters, "
        "got None. Rename it.",
    ),
    "unknown operation": (
        with_edge(0, 2, "skip_conect"),
        "cells.normal.edges[0]'s operation must be one of none, skip_connect, "
        "sep_conv_3x3, got 'skip_conect'. Did you mean 'skip_connect'?",
    ),
    "empty concat": (
        with_cell(concat=[]),
        "cells.normal.concat must be a list of at least one state, got (). Correct it.",
    ),
    "an input in concat": (
        with_cell(concat=[0, 2]),
        "cells.normal.concat must hold integers from 1 to 63, got 0. Correct it.",
    ),
    "unsorted concat": (
        with_cell(concat=[3, 2]),
        "cells.normal.concat must be increasing, got (3, 2). Sort it.",
    ),
    "long value": (
        with_edge(0, 2, "x" * 500),
        "cells.normal.edges[0]'s operation must be 1 to 100 printable characters, "
        f"got '{'x' * 49}...{'x' * 19}'. Rename it.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file(name):
    """Each kind of bad file has its message."""
    text, message = BAD[name]
    with pytest.raises(genotypes.GenotypeError) as caught:
        genotype_text.from_json(text, operations=OPERATIONS)
    assert str(caught.value) == message


def test_brackets_in_strings_are_no_nesting():
    """A name full of brackets is read; an unclosed string does not cost seconds."""
    genotype = genotype_text.from_json(json.dumps(document(space='[[[["[[[[[[[[')))
    assert genotype.space == '[[[["[[[[[[[['
    for text in ('"' + '\\"' * 400_000, "[" * 1_000_000):
        assert not parser.check(text, pathlib.Path())


def test_operations_default_to_the_registry(monkeypatch):
    """The names known are those registered; while none is, any name is."""
    text = with_edge(0, 2, "mine")
    monkeypatch.setattr(registry, "OPERATIONS", registry.Registry("operation"))
    assert genotype_text.from_json(text).cell("normal").edges == ((0, 2, "mine"),)
    registry.OPERATIONS.register(lambda: 0, name="other")
    with pytest.raises(genotypes.GenotypeError, match="must be one of other, got"):
        genotype_text.from_json(text)


def test_constructor_checks():
    """Python values are held to the rules of a file, without Python's own errors."""
    huge = 10**5000
    with pytest.raises(genotypes.GenotypeError, match="got a value too long to show"):
        genotypes.Cell(((0, huge, "none"),), (2,))
    with pytest.raises(genotypes.GenotypeError, match="edges must be a tuple"):
        genotypes.Cell([], (2,))
    cell = genotypes.Cell((), (2,))
    with pytest.raises(genotypes.GenotypeError, match="different names"):
        genotypes.Genotype("mine", (("a", cell), ("a", cell)))
    with pytest.raises(genotypes.GenotypeError, match=r"cell must be one of \['a'\]"):
        genotypes.Genotype("mine", (("a", cell),)).cell("b")


def test_canonical_ignores_the_order_of_edges():
    """Strength order does not matter for comparison, the operations do."""
    edges = ((1, 3, "a"), (0, 3, "b"), (0, 3, "a"), (1, 2, "c"))
    first = genotypes.Genotype("mine", (("n", genotypes.Cell(edges, (3,))),))
    second = genotypes.Genotype("mine", (("n", genotypes.Cell(edges[::-1], (3,))),))
    assert first != second
    assert first.canonical() == second.canonical()
    expected = ((1, 2, "c"), (0, 3, "a"), (0, 3, "b"), (1, 3, "a"))
    assert first.canonical().cell("n").edges == expected


@hypothesis.given(GENOTYPES)
@hypothesis.settings(max_examples=10)
def test_save_and_load(tmp_path_factory, genotype):
    """A saved file is loaded, replaces an older one, and leaves nothing beside it."""
    folder = tmp_path_factory.mktemp("genotype")
    path = folder / "genotype.json"
    path.write_text("old")
    genotype_text.save(path, genotype)
    assert genotype_text.load(path, operations=OPERATIONS) == genotype
    assert os.listdir(folder) == ["genotype.json"]


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    """Until the rename the old file is whole, and the temporary one is removed."""
    path = tmp_path / "genotype.json"
    path.write_text("old")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fails)
    cell = genotypes.Cell((), (2,))
    with pytest.raises(OSError, match="disk full"):
        genotype_text.save(path, genotypes.Genotype("mine", (("a", cell),)))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["genotype.json"]


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "genotype must name a readable file, got '{}'. Check the path."),
        (b"\xff\xfe", "genotype must be UTF-8 text, got '{}'. Save it as UTF-8."),
        (b"\xc3(", f"genotype must be UTF-8 text, got '{{}}'. Give {FORMS}."),
        (b"1.2", f"genotype must be {FORMS}, got '1.2' in '{{}}'. Convert it."),
        (b" ", f"genotype must be {FORMS}, got no text in '{{}}'. Convert it."),
        (
            b" " * 2_000_000,
            "genotype must be at most 1000000 bytes, got a longer one. Correct it.",
        ),
    ],
)
def test_bad_path(content, message, tmp_path, monkeypatch):
    """A file that is missing, binary or too long has its message."""
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "g").write_bytes(content)
    with pytest.raises(genotypes.GenotypeError) as caught:
        genotype_text.load("g")
    assert str(caught.value) == message.format("g")


def test_nasbench201_string_has_edges_in_its_own_order():
    """Node after node, sources rising; every edge kept."""
    string = "|a~0|+|b~0|c~1|+|d~0|e~1|f~2|"
    genotype = genotype_text.from_nasbench201(string, operations="abcdef")
    assert genotype.space == "nasbench201"
    edges = genotype.cell("cell").edges
    assert edges[:3] == ((0, 1, "a"), (0, 2, "b"), (1, 2, "c"))
    assert edges[3:] == ((0, 3, "d"), (1, 3, "e"), (2, 3, "f"))
    assert genotype.cell("cell").concat == (3,)
    assert genotype_text.to_nasbench201(genotype.canonical()) == string


FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


@pytest.mark.parametrize(
    "string",
    [
        "",
        "|a~0|+|b~0|c~1|+|d~0|e~1|f~2",
        "|a~0|+|b~1|c~0|+|d~0|e~1|f~2|",
        "|a~0|+|b~0|c~1|+|d~0|e~1|f~2|\n",
        "||~0|+|b~0|c~1|+|d~0|e~1|f~2|",
    ],
)
def test_bad_nasbench201_string(string):
    """A string of another form is refused with the form."""
    with pytest.raises(genotypes.GenotypeError) as caught:
        genotype_text.from_nasbench201(string, operations="abcdef")
    expected = f"string must have the form {FORM}, got {string!r}. Correct it."
    assert str(caught.value) == expected


def test_nasbench201_refuses_other_cells():
    """A cell that lacks an edge has no string."""
    cell = genotypes.Cell(((0, 1, "a"), (0, 2, "a"), (1, 2, "a"), (0, 3, "a")), (3,))
    with pytest.raises(genotypes.GenotypeError, match="must be one cell with edges"):
        genotype_text.to_nasbench201(genotypes.Genotype("mine", (("cell", cell),)))


# In the form that the repository prints, a node's entries in order of strength.
DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 2), "
    "('none', 0)], normal_concat=range(2, 4), reduce=[('none', 0), ('none', 1)], "
    "reduce_concat=[2, 5])"
)


def test_darts_string():
    """Two entries a node, in order; concat as a range or a list."""
    genotype = genotype_text.from_darts(DARTS, space="mine", operations=OPERATIONS)
    assert genotype.cell("normal").edges == (
        (1, 2, "sep_conv_3x3"),
        (0, 2, "skip_connect"),
        (2, 3, "skip_connect"),
        (0, 3, "none"),
    )
    assert genotype.cell("normal").concat == (2, 3)
    assert genotype.cell("reduce").concat == (2, 5)


def test_darts_string_as_people_write_it():
    """White space, double quotes, trailing commas and an assignment are read."""
    loose = DARTS.replace("(", "(\n ").replace(", ", " ,\t").replace("'", '"')
    loose = "DARTS_V9 = " + loose.replace("=", " = ").replace("]", ",]")
    assert genotype_text.from_darts(loose) == genotype_text.from_darts(DARTS)


PAIRS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=4
)


@hypothesis.given(PAIRS, PAIRS)
def test_darts_round_trip(normal, reduce):
    """The string of a genotype with two edges a node is read again."""
    cells = []
    for name, pairs in (("normal", normal), ("reduce", reduce)):
        nodes = range(2, 2 + len(pairs))
        edges = tuple(
            (source, node, OPERATIONS[source])
            for node, pair in zip(nodes, pairs, strict=True)
            for source in pair
        )
        cells.append((name, genotypes.Cell(edges, tuple(nodes))))
    genotype = genotypes.Genotype("darts", tuple(cells))
    assert genotype_text.from_darts(genotype_text.to_darts(genotype)) == genotype


@pytest.mark.parametrize(
    "text, rule",
    [
        ("", "text must have the form Genotype"),
        ("__import__('os').system('true')", "text must have the form Genotype"),
        (DARTS + ".x", "text must have the form Genotype"),
        (DARTS.replace("0)", "0+0)"), "text must have the form Genotype"),
        (DARTS.replace(", ('none', 1)", ""), "reduce must have two entries for each"),
        (DARTS.replace("2, 4", "4, 2"), "normal.concat must be a list of at least one"),
        (DARTS.replace("2)", "9)"), r"normal.edges\[2\] must have `from` below `to`"),
        (DARTS.replace("2, 4", "2, 9999"), "normal.concat must hold integers"),
        (DARTS.replace("none", "nun"), r"cells.normal.edges\[3\]'s operation must be"),
    ],
)
def test_bad_darts_string(text, rule):
    """A string of another form, or of a cell that breaks a rule, is refused."""
    with pytest.raises(genotypes.GenotypeError, match=f"^{rule}") as caught:
        genotype_text.from_darts(text, operations=OPERATIONS)
    assert parser.MESSAGE.fullmatch(str(caught.value))


@hypothesis.given(st.integers(0, 300), st.integers(0, 3), st.text(max_size=3))
@hypothesis.settings(max_examples=300, deadline=None)
def test_darts_string_with_characters_replaced(start, length, new):
    """A string with a few characters replaced is a genotype or a GenotypeError."""
    try:
        genotype_text.from_darts(DARTS[:start] + new + DARTS[start + length :])
    except genotypes.GenotypeError as error:
        assert str(error).isprintable()


def test_darts_refuses_other_cells():
    """A node of three edges has no place in the string."""
    cell = genotypes.Cell(((0, 2, "a"), (1, 2, "a"), (1, 2, "b")), (2,))
    genotype = genotypes.Genotype("mine", (("normal", cell), ("reduce", cell)))
    with pytest.raises(genotypes.GenotypeError, match="give each node two edges"):
        genotype_text.to_darts(genotype)
    with pytest.raises(genotypes.GenotypeError, match="be normal and reduce"):
        genotype_text.to_darts(genotypes.Genotype("mine", (("cell", cell),)))
