"""Draws choices as boxes in the order of their rows, a colour for each option."""

import html
from collections.abc import Callable

from jnas.spaces import genotype_choices

_ROW = 30  # height of a row
_ROWS = 12  # of a column; a longer chain continues in the next
_MARGIN, _GAP = 24, 28
_CHARACTER = 6.7  # width of one of the labels' characters
_COLOURS = 6


def draw(genotype: genotype_choices.Choices, page: Callable) -> str:
    """Returns an SVG picture: name and option of each row, joined by arrows.

    Args:
      genotype: the choices.
      page: (space, elements, width, height) -> the SVG file.
    """
    names = [name for name, _ in genotype.choices]
    options = [option for _, option in genotype.choices]
    wide = max(map(len, names)) * _CHARACTER + 12
    box = max(map(len, options)) * _CHARACTER + 18
    colours = {option: i % _COLOURS for i, option in enumerate(dict.fromkeys(options))}
    rows, parts = min(_ROWS, len(names)), []
    for i, (name, option) in enumerate(genotype.choices):
        column, row = divmod(i, _ROWS)
        left = _MARGIN + column * (wide + box + _GAP)
        middle = _MARGIN + row * _ROW + _ROW / 2
        start = left + wide
        if row:
            line = f"M{start + box / 2:.1f} {middle - _ROW + 11:.1f}V{middle - 11:.1f}"
            parts.append(f'<path class="jnas-concat" d="{line}"/>')
        parts.append(
            f'<text class="jnas-text" x="{left + wide / 2:.1f}" y="{middle:.1f}">'
            f"{html.escape(name)}</text>"
            f'<rect class="jnas-label jnas-{colours[option]}" x="{start:.1f}" '
            f'y="{middle - 11:.1f}" rx="6" width="{box:.1f}" height="22"/>'
            f'<text class="jnas-text" x="{start + box / 2:.1f}" y="{middle:.1f}">'
            f"{html.escape(option)}</text>"
        )
    columns = -(-len(names) // _ROWS)
    width = 2 * _MARGIN + columns * (wide + box) + (columns - 1) * _GAP
    return page(genotype.space, parts, width, 2 * _MARGIN + rows * _ROW)
