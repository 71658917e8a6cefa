"""Tests of jnas.drawing: the picture holds everything once, and nothing overlaps."""

import itertools
from xml.etree import ElementTree

import pytest

from jnas.spaces import drawing, genotype_text, published
from jnas.spaces import genotype as genotypes

SVG = "{http://www.w3.org/2000/svg}"
NASBENCH201 = genotype_text.from_nasbench201(
    "|none~0|+|none~0|a~1|+|a~0|a~1|b~2|", operations=("none", "a", "b")
)
PICTURES = {name: published.genotype(name) for name in published.cells()} | {
    "201": NASBENCH201
}


def rectangles(root, kind):
    """Returns (left, top, right, bottom) of each rectangle of a class."""
    boxes = []
    for element in root.iter(f"{SVG}rect"):
        if kind in element.get("class").split():
            x, y, width, height = (
                float(element.get(key)) for key in ("x", "y", "width", "height")
            )
            boxes.append((x, y, x + width, y + height))
    return boxes


@pytest.mark.parametrize("name", PICTURES)
def test_everything_is_drawn_apart(name):
    """A label for each edge, a box for each state, none over another, all inside."""
    genotype = PICTURES[name]
    root = ElementTree.fromstring(drawing.draw(genotype))
    cells = [cell for _, cell in genotype.cells]
    labels = rectangles(root, "jnas-label")
    nodes = rectangles(root, "jnas-node")
    inputs = rectangles(root, "jnas-input")
    assert len(labels) == sum(len(cell.edges) for cell in cells)
    assert len(nodes) == len(cells) * genotype.num_nodes
    assert len(inputs) == len(cells) * genotype.num_inputs
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for cell in cells:
        for _, _, operation in cell.edges:
            texts.remove(operation)
    boxes = labels + nodes + inputs + rectangles(root, "jnas-output")
    for one, other in itertools.combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0]
        assert apart or one[3] <= other[1] or other[3] <= one[1]
    left, top, width, height = map(float, root.get("viewBox").split())
    assert (left, top) == (0, 0)
    for box in boxes:
        assert 0 <= box[0] and box[2] <= width and 0 <= box[1] and box[3] <= height


def test_parallel_edges_have_lines_of_their_own():
    """NASNet's normal node 5 takes the same pool of the same input twice."""
    root = ElementTree.fromstring(drawing.draw(published.genotype("NASNet")))
    lines = [
        element.get("d")
        for element in root.iter(f"{SVG}path")
        if "jnas-line" in element.get("class")
    ]
    assert len(lines) == len(set(lines)) == 20


def test_text_is_escaped():
    """Names are text, never markup."""
    hostile = "<script>&\"'"
    cell = genotypes.Cell(((0, 1, hostile),), (1,))
    text = drawing.draw(genotypes.Genotype(hostile, ((hostile, cell),)))
    assert "<script" not in text
    texts = [element.text for element in ElementTree.fromstring(text).iter()]
    assert texts.count(hostile) == 2


def test_a_cell_without_edges_and_both_schemes():
    """Isolated nodes are drawn, and the dark colours name every light one's class."""
    cell = genotypes.Cell((), (2, 5))
    cells = ("normal", cell), ("reduce", cell)
    text = drawing.draw(genotypes.Genotype("darts", cells))
    root = ElementTree.fromstring(text)
    assert len(rectangles(root, "jnas-node")) == 8
    light, dark = root.find(f"{SVG}style").text.split("prefers-color-scheme: dark")
    for kind in ["page", "text", "heading", "input", "node", "output", "label"]:
        assert f".jnas-{kind} {{ fill" in light.replace(",", " {")
        assert f".jnas-{kind}" in dark
    for colour in range(6):
        assert f".jnas-{colour} {{" in light and f".jnas-{colour} {{" in dark
