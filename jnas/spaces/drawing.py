"""Draws a genotype as SVG, without any drawing library.

Every edge has its own row: it leaves its source, bends to its row and runs straight
through its label to its target, so labels never overlap, even where several edges join
the same two states.
"""

import dataclasses
import html

from jnas.spaces import drawing_choices, genotype_choices, lookups
from jnas.spaces import genotype as genotypes

_ROW = 30  # height of an edge's row
_BOX = 34  # width of a state
_BEND = 64  # room for the bends to the right of a state
_STUB = 22  # from a label to the state it leads to
_MARGIN = 24
_HEADING = 34
_CHARACTER = 6.7  # width of one of the labels' characters
_INPUT = 70
_OUTPUT = 34

_STYLE = """
.jnas-page { fill: #ffffff } .jnas-heading { fill: #1f2328; font: 600 14px sans-serif }
.jnas-text { fill: #1f2328; font: 11px ui-monospace, Menlo, Consolas,
  "DejaVu Sans Mono", monospace; text-anchor: middle; dominant-baseline: central }
.jnas-input { fill: #ddf4e4; stroke: #1a7f37 } .jnas-node { fill: #ddeeff;
  stroke: #0969da } .jnas-output { fill: #fff1d6; stroke: #9a6700 }
.jnas-label { fill: #f6f8fa } .jnas-label, .jnas-line { stroke-width: 1.5 }
.jnas-line { fill: none } .jnas-none { stroke-dasharray: 3 4 }
.jnas-concat { fill: none; stroke: #afb8c1; stroke-width: 1.5 }
.jnas-0 { stroke: #1a7f37 } .jnas-1 { stroke: #8250df } .jnas-2 { stroke: #0969da }
.jnas-3 { stroke: #bc4c00 } .jnas-4 { stroke: #bf3989 } .jnas-5 { stroke: #0a7b83 }
@media (prefers-color-scheme: dark) {
.jnas-page { fill: #0d1117 } .jnas-heading, .jnas-text { fill: #e6edf3 }
.jnas-input { fill: #12361f; stroke: #3fb950 } .jnas-node { fill: #0c2d6b;
  stroke: #58a6ff } .jnas-output { fill: #3b2b08; stroke: #d29922 }
.jnas-label { fill: #161b22 } .jnas-concat { stroke: #484f58 }
.jnas-0 { stroke: #3fb950 } .jnas-1 { stroke: #a371f7 } .jnas-2 { stroke: #58a6ff }
.jnas-3 { stroke: #f0883e } .jnas-4 { stroke: #f778ba } .jnas-5 { stroke: #39c5cf }
}
"""
_COLOURS = 6


@dataclasses.dataclass(frozen=True)
class _State:
    """The box of a state: its left side x, its vertical middle y, width and height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width


def draw(genotype: genotypes.Genotype | genotype_choices.Choices) -> str:
    """Returns an SVG picture of all cells, one below the other, or of all choices.

    States are boxes from left to right; an edge is labelled with its operation and has
    the colour of its source; grey lines lead to the cell's output; ``none`` is dashed.
    Choices are a table: a row each, with its name and option.
    The picture follows the viewer's light or dark setting.

    Args:
      genotype: the genotype to draw.

    Returns:
      The text of an SVG file that refers to no other file.

    Raises:
      GenotypeError: its space is not registered and its inputs are not certain.
    """
    if isinstance(genotype, genotype_choices.Choices):
        return drawing_choices.draw(genotype, _page)
    label = max(
        [len(name) for _, cell in genotype.cells for _, _, name in cell.edges] + [4]
    )
    label_width = label * _CHARACTER + 14
    parts, width, top = [], 0.0, float(_MARGIN)
    states = genotypes.States(genotype.num_inputs, genotype.num_nodes)
    for name, cell in genotype.cells:
        heading = f'<text class="jnas-heading" x="{_MARGIN}" y="{top + 12:.1f}">'
        parts.append(f"{heading}{html.escape(name)}</text>")
        body, right, bottom = _cell(cell, states, top + _HEADING, label_width)
        parts += body
        width, top = max(width, right + _MARGIN), bottom + _MARGIN
    return _page(genotype.space, parts, width, top)


def _page(space: str, parts: list[str], width: float, height: float) -> str:
    """Returns the SVG file of some elements."""
    title = html.escape(f"Genotype of space {space}")
    size = f"{width:.0f} {height:.0f}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            '<rect class="jnas-page" width="100%" height="100%"/>',
            *parts,
            "</svg>\n",
        ]
    )


def to_png(
    genotype: genotypes.Genotype | genotype_choices.Choices, *, scale: float = 1.0
) -> bytes:
    """Returns ``draw``'s picture as the bytes of a PNG file, in light colours.

    Args:
      genotype: the genotype to draw.
      scale: pixels per unit of the drawing.
    """
    import vl_convert  # imported late: most runs draw only SVG

    return vl_convert.svg_to_png(draw(genotype), scale=scale)


def _cell(
    cell: genotypes.Cell, kinds: genotypes.States, top: float, label_width: float
) -> tuple[list[str], float, float]:
    """Draws a cell; returns its SVG elements, its right side and its bottom."""
    states, bottom = _place(cell, kinds, top, label_width)
    out = _State(states[-1].right + _BEND, (top + bottom) / 2, _OUTPUT, bottom - top)
    lines = [
        f'<path class="jnas-concat" d="M{states[state].right:.1f} '
        f'{states[state].y:.1f}H{out.x:.1f}"/>'
        for state in cell.concat
    ]
    labels = []
    for target, box in enumerate(states):
        edges = sorted(edge for edge in cell.edges if edge[1] == target)
        for i, (source, _, operation) in enumerate(edges):
            y = box.y + (i - (len(edges) - 1) / 2) * _ROW
            dashed = " jnas-none" if operation == lookups.NONE else ""
            style = f"jnas-{source % _COLOURS}{dashed}"
            line = _line(states[source], box, y, label_width)
            lines.append(f'<path class="jnas-line {style}" d="{line}"/>')
            labels.append(_label(box, y, label_width, operation, style))
    boxes = [
        _box(state, f"input {i}", "jnas-input")
        if i < kinds.num_inputs
        else _box(state, str(i), "jnas-node")
        for i, state in enumerate(states)
    ]
    boxes.append(_box(out, "out", "jnas-output"))
    return lines + labels + boxes, out.right, bottom


def _place(
    cell: genotypes.Cell, kinds: genotypes.States, top: float, label_width: float
) -> tuple[list[_State], float]:
    """Places each node at the rows of its edges, below and right of the last node."""
    nodes = []
    x, y = _MARGIN + _INPUT + _BEND + 10.0, top
    for state in range(kinds.num_inputs, kinds.num_inputs + kinds.num_nodes):
        rows = max(1, sum(to == state for _, to, _ in cell.edges))
        left = x + label_width + _STUB
        nodes.append(_State(left, y + rows * _ROW / 2, _BOX, max(26, rows * _ROW - 14)))
        x, y = left + _BOX + _BEND, y + rows * _ROW
    bottom = max(y, top + 2 * _ROW)
    share = (bottom - top) / kinds.num_inputs
    inputs = [
        _State(_MARGIN, top + (i + 0.5) * share, _INPUT, 26)
        for i in range(kinds.num_inputs)
    ]
    return inputs + nodes, bottom


def _line(source: _State, target: _State, y: float, label_width: float) -> str:
    """Returns the path of an edge: a bend to row y, then straight to the target."""
    bend = min(source.right + _BEND, target.x - _STUB - label_width)
    middle = (source.right + bend) / 2
    return (
        f"M{source.right:.1f} {source.y:.1f}C{middle:.1f} {source.y:.1f} "
        f"{middle:.1f} {y:.1f} {bend:.1f} {y:.1f}H{target.x:.1f}"
    )


def _label(
    target: _State, y: float, label_width: float, operation: str, style: str
) -> str:
    left = target.x - _STUB - label_width
    return (
        f'<rect class="jnas-label {style}" x="{left:.1f}" y="{y - 10:.1f}" rx="10" '
        f'width="{label_width:.1f}" height="20"/>'
        f'<text class="jnas-text" x="{left + label_width / 2:.1f}" y="{y:.1f}">'
        f"{html.escape(operation)}</text>"
    )


def _box(state: _State, text: str, kind: str) -> str:
    top = state.y - state.height / 2
    return (
        f'<rect class="{kind}" x="{state.x:.1f}" y="{top:.1f}" rx="6" '
        f'width="{state.width:.1f}" height="{state.height:.1f}"/>'
        f'<text class="jnas-text" x="{state.x + state.width / 2:.1f}" '
        f'y="{state.y:.1f}">{text}</text>'
    )
