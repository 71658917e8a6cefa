"""A genotype in any form, on one line or in a file, is read as the same genotype."""

import codecs
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from jnas import registry, spaces
from jnas.endurance import parser
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text, published

SPACES = {name: make() for name, make in registry.SPACES.items()}
V1, V2 = (published.genotype(name) for name in ("DARTS_V1", "DARTS_V2"))
PRINTED = {
    "DARTS_V1": genotype_text.to_darts(V1),
    "DARTS_V2": genotype_text.to_darts(V2),
}
CELLS = spaces.zoo.nasbench201().genotype([3, 1, 0, 2, 3, 4])


@pytest.mark.parametrize("name", SPACES)
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=30, deadline=None)
def test_short_form_round_trip(name, data):
    """One printable line that is read as an equal genotype, in every space."""
    space = SPACES[name]
    genes = data.draw(st.tuples(*(st.integers(0, size - 1) for size in space.sizes)))
    genotype = space.genotype(genes)
    text = genotype_text.short_form(genotype)
    assert text.isprintable() and genotype_text.parse(text) == genotype
    start = {"nasbench201": "|", "darts": "Genotype(normal="}.get(name, '{"format"')
    assert text.startswith(start)


@hypothesis.given(st.sets(st.integers(0, 5)), st.permutations(range(6)))
def test_short_form_of_missing_edges(left_out, order):
    """NAS-Bench-201's string says none for them, whatever the order of the others."""
    edges = CELLS.cell("cell").edges
    kept = tuple(edges[i] for i in order if i not in left_out)
    short = genotypes.Genotype("nasbench201", (("cell", genotypes.Cell(kept, (3,))),))
    again = genotype_text.parse(genotype_text.short_form(short))
    live = {edge for edge in again.cell("cell").edges if edge[2] != "none"}
    assert live == {edge for edge in kept if edge[2] != "none"}
    assert len(again.cell("cell").edges) == 6


@pytest.mark.parametrize("name", published.cells())
def test_short_form_of_published_cells(name):
    """Those of other spaces keep the name of theirs, in JSON."""
    genotype = published.genotype(name)
    text = genotype_text.short_form(genotype)
    known = {op for _, cell in genotype.cells for _, _, op in cell.edges}
    assert genotype_text.parse(text, operations=known) == genotype
    assert text.startswith("{") == (genotype.space == "nasnet")


ODD = {
    "edges twice": ("nasbench201", ((0, 1, "a"), (0, 1, "a")), (3,)),
    "another concat": ("nasbench201", ((0, 1, "a"), (1, 2, "a")), (2,)),
    "a bar in a name": ("nasbench201", ((0, 1, "a|b"),), (3,)),
    "a name of other letters": ("größe", ((0, 1, "schön, 'so'"),), (1,)),
}


@pytest.mark.parametrize("name", ODD)
def test_short_form_of_odd_cells(name):
    """What no string can hold is JSON, on one line of ASCII."""
    space, edges, concat = ODD[name]
    genotype = genotypes.Genotype(space, (("cell", genotypes.Cell(edges, concat)),))
    text = genotype_text.short_form(genotype)
    assert text.startswith("{") and text.isprintable() and text.isascii()
    known = [op for _, _, op in edges]
    assert genotype_text.parse(text, operations=known) == genotype


def test_order_of_a_nodes_edges_is_kept():
    """DARTS' string holds their order inside a node; other orders are JSON."""
    edges = V2.cell("normal").edges
    swapped, mixed = (edges[1], edges[0], *edges[2:]), (*edges[2:], *edges[:2])
    for own, start in ((swapped, "Genotype"), (mixed, "{")):
        cell = genotypes.Cell(own, (2, 3, 4, 5))
        genotype = genotypes.Genotype("darts", (("normal", cell), ("reduce", cell)))
        text = genotype_text.short_form(genotype)
        assert text.startswith(start) and genotype_text.parse(text) == genotype


def module(*lines):
    """Returns a file as that of the DARTS repository."""
    head = "from collections import namedtuple\n\n"
    head += "Genotype = namedtuple('Genotype', 'normal normal_concat reduce')\n\n"
    return head + "\n".join(lines) + "\n\nDARTS = DARTS_V2\n"


def loose(text):
    """Writes a genotype over several lines."""
    return text.replace("(", "(\n  ").replace("], ", "],\r\n  ")


LOG = "03/12 11:09:06 AM genotype = {}\n03/12 11:09:07 AM tensor([[0.12, 0.13]])\n"
FILES = {
    "printed.txt": (PRINTED["DARTS_V2"], V2),
    "lines.txt": (f"\n{loose(PRINTED['DARTS_V2'])}\n", V2),
    "assigned.py": (f"best = {PRINTED['DARTS_V2']}\n", V2),
    "module.py": (module(f"DARTS_V2 = {loose(PRINTED['DARTS_V2'])}"), V2),
    "commented.py": (
        module(f"# DARTS_V1 = {PRINTED['DARTS_V1']}", f"V2 = {PRINTED['DARTS_V2']}"),
        V2,
    ),
    "log.txt": (LOG.format(PRINTED["DARTS_V2"]) * 3, V2),
    "string.txt": (genotype_text.short_form(CELLS) + "\r\n", CELLS),
    "line.json": (genotype_text.short_form(SPACES["tiny"].genotype([0] * 10)), None),
    "indented.json": ("\n " + genotype_text.to_json(V2), V2),
}


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("name", FILES)
def test_files(name, mark, tmp_path):
    """Each form is read from a file, with and without a byte order mark."""
    text, genotype = FILES[name]
    path = tmp_path / name
    path.write_bytes(mark + text.encode())
    expected = genotype or SPACES["tiny"].genotype([0] * 10)
    assert genotype_text.load(path) == expected


def test_one_of_several_genotypes(tmp_path):
    """A Python file of several is read by name; the message says how."""
    path = tmp_path / "genotypes.py"
    path.write_text(module(*(f"{name} = {text}" for name, text in PRINTED.items())))
    assert genotype_text.load(path, name="DARTS_V1") == V1
    assert genotype_text.load(path, name="DARTS_V2") == V2
    bad = {
        "": f"genotype must be one genotype in a file, got 2 in '{path}' (DARTS_V1, "
        f"DARTS_V2). Name one, {path}:DARTS_V1.",
        "PDARTS": f"genotype must be one genotype named 'PDARTS' in a file, got 0 in "
        f"'{path}' (DARTS_V1, DARTS_V2). Name one, {path}:DARTS_V1.",
    }
    for name, message in bad.items():
        with pytest.raises(genotypes.GenotypeError) as caught:
            genotype_text.load(path, name=name)
        start, end = message.split(" in '")[0], message.rsplit(". ", 1)[1]
        assert str(caught.value).startswith(start) and str(caught.value).endswith(end)


def test_a_log_of_different_genotypes(tmp_path):
    """Which of them is meant is not guessed."""
    path = tmp_path / "log.txt"
    path.write_text("".join(map(LOG.format, PRINTED.values())))
    with pytest.raises(genotypes.GenotypeError, match="Copy one of them to a file"):
        genotype_text.load(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16(encoding, tmp_path):
    """It is refused as such, not as bad JSON."""
    path = tmp_path / "g.json"
    path.write_bytes(genotype_text.to_json(V2).encode(encoding))
    with pytest.raises(genotypes.GenotypeError, match="UTF-8 text, got .* Save it as"):
        genotype_text.load(path)


OTHERS = {
    "run.py": "import jnas\n",
    "weights.txt": "[0.1, 0.2",
    "table.csv": "a,b\n1,2\n",
    "call.py": "Genotype(normal=__import__('os').system('true'))",
    "object.json": json.dumps({"command": "search"}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_another_form(name, tmp_path):
    """One line that names the form; code is not run."""
    path = tmp_path / name
    path.write_text(OTHERS[name])
    with pytest.raises(genotypes.GenotypeError) as caught:
        genotype_text.load(path)
    assert parser.MESSAGE.fullmatch(str(caught.value))
    if name in ("run.py", "table.csv"):
        assert genotype_text.FORMS in str(caught.value)


@hypothesis.given(st.integers(0, 400), st.integers(0, 3), st.text(max_size=3))
@hypothesis.settings(max_examples=200, deadline=None)
def test_files_with_characters_replaced(tmp_path_factory, start, length, new):
    """A genotype, or one printable line."""
    text = module(f"DARTS_V2 = {PRINTED['DARTS_V2']}")
    path = tmp_path_factory.getbasetemp() / "given.py"
    given = text[:start] + new + text[start + length :]
    path.write_bytes(given.encode("utf-8", "surrogatepass"))
    try:
        genotype_text.load(path)
    except genotypes.GenotypeError as error:
        assert parser.MESSAGE.fullmatch(str(error)) and str(error).isprintable()


def test_a_large_file_is_read_in_time(tmp_path):
    """The search is linear in the text."""
    path = tmp_path / "g.py"
    for text in (" " * 999_000, "Genotype(" * 100_000, "x = " * 200_000):
        path.write_text(text + "Genotype(")
        with pytest.raises(genotypes.GenotypeError, match="text must have the form"):
            genotype_text.load(path)
