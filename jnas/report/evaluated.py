"""The sections of an evaluated model: classes, confusions, and the worst images."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from jnas.report import numbers, sections
from jnas.report import runs as runs_lib
from jnas.report import tables as tables_lib
from jnas.report.embed import text

MOST_IN_TABLE = 12  # classes of a matrix that is a table; larger ones are a chart
_MOST_PAIRS = 12
_MOST_ROWS = 20  # classes that are not folded
_LEVELS = 5  # of a cell's shade
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 1 << 20  # of one image


def parts(runs: Sequence[runs_lib.RunFiles]) -> list[tuple[str, str]]:
    """Returns the sections of all runs that evaluated a model; empty without any.

    Args:
      runs: one or more runs.
    """
    made = {
        "Accuracy of each class": _classes,
        "Figures of each output": _outputs,
        "Confusion matrix": matrix,
        "Most frequent confusions": _pairs,
        "Images whose class was given the lowest probability": _least_probable,
        "Examples of the largest loss": _largest_loss,
    }
    found = []
    for name, make in made.items():
        contents = [(run.name, make(run)) for run in runs]
        contents = [one for one in contents if one[1]]
        whole = "".join(
            sections.fold(title, content) if len(runs) > 1 else content
            for title, content in contents
        )
        found.append((name, whole))
    return found


def confusion(run: runs_lib.RunFiles) -> tuple[list[str], list[list[int]]] | None:
    """Returns the names of the classes and the counts [true][predicted] of a run.

    None where the result has no such matrix, or one that is damaged.

    Args:
      run: a run.
    """
    classes, counts = run.result.get("classes"), run.result.get("confusion")
    if not isinstance(classes, list) or not isinstance(counts, list):
        return None
    names = [str(one.get("class")) for one in classes if isinstance(one, Mapping)]
    rows = [row for row in counts if isinstance(row, list) and len(row) == len(counts)]
    sound = all(type(n) is int and n >= 0 for row in rows for n in row)
    if not names or len(names) != len(counts) or len(rows) != len(counts) or not sound:
        return None
    return names, rows


def _classes(run: runs_lib.RunFiles) -> str:
    """Returns a table of the classes, the lowest accuracy first."""
    known = confusion(run)
    if known is None:
        return ""
    rows = []
    for label, (name, counts) in enumerate(zip(*known, strict=True)):
        total = sum(counts)
        rows.append([name, counts[label] / total if total else None, total])
    rows.sort(key=lambda row: 2 if row[1] is None else row[1])
    tables = [
        sections.table(tables_lib.Table(("class", "accuracy", "images"), some))
        for some in (rows[:_MOST_ROWS], rows[_MOST_ROWS:])
    ]
    more = f"{len(rows) - _MOST_ROWS} more classes"
    return tables[0] + (sections.fold(more, tables[1]) * (len(rows) > _MOST_ROWS))


def matrix(run: runs_lib.RunFiles) -> str:
    """Returns a small confusion matrix as a table; "" for a large one, or none."""
    known = confusion(run)
    if known is None or len(known[0]) > MOST_IN_TABLE:
        return ""
    names, rows = known
    head = "".join(f"<th>{text(name)}</th>" for name in names)
    body = "\n".join(
        f"<tr><th>{text(name)}</th>{_cells(label, counts)}</tr>"
        for label, (name, counts) in enumerate(zip(names, rows, strict=True))
    )
    return (
        '<div class="wide"><table class="matrix">\n'
        f"<thead><tr><th>true \\ predicted</th>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody>\n</table></div>"
        '<p class="note">A row is a true class, a column a predicted one; the shade is '
        "the share of the row's images.</p>"
    )


def _cells(label: int, counts: Sequence[int]) -> str:
    """Returns a row's cells, shaded by their share of its images."""
    total, found = max(1, sum(counts)), []
    for other, count in enumerate(counts):
        level = min(_LEVELS, 1 + int(_LEVELS * count / total)) if count else 0
        kind = "hit" if other == label else "miss"
        shade = f" {kind} level-{level}" if level else ""
        found.append(f'<td class="number{shade}">{count:,}</td>')
    return "".join(found)


def _pairs(run: runs_lib.RunFiles) -> str:
    """Returns a table of the classes that are most often taken for another."""
    known = confusion(run)
    if known is None:
        return ""
    names, rows = known
    pairs = [
        [names[true], names[other], count, count / sum(counts)]
        for true, counts in enumerate(rows)
        for other, count in enumerate(counts)
        if other != true and count
    ]
    pairs.sort(key=lambda pair: -pair[2])
    header = ("true class", "predicted as", "images", "share of the true class")
    table = tables_lib.Table(header, pairs[:_MOST_PAIRS])
    return sections.table(table) if pairs else ""


def _outputs(run: runs_lib.RunFiles) -> str:
    """Returns a table of the figures of each number of a target."""
    listed = run.result.get("outputs")
    rows = [one for one in listed or () if isinstance(one, Mapping)]
    return sections.table(tables_lib.from_records(rows)) if rows else ""


def _least_probable(run: runs_lib.RunFiles) -> str:
    return _worst(run) if "classes" in run.result else ""


def _largest_loss(run: runs_lib.RunFiles) -> str:
    if "classes" in run.result or not run.worst:
        return ""
    names = ("image", "true", "predicted", "loss")
    rows = [[one.get(name) for name in names] for one in run.worst]
    header = ("example", *names[1:])
    return _worst(run) or sections.table(tables_lib.Table(header, rows))


def _worst(run: runs_lib.RunFiles) -> str:
    """Returns the images with what was predicted; one that is no PNG is left out."""
    figures = []
    for one in run.worst:
        image = one.get("png")
        if not isinstance(image, str) or not _is_png(image):
            continue
        lines = [
            f"true: {one.get('true')}",
            f"predicted: {one.get('predicted')}",
            f"loss {_cell(one.get('loss'))}"
            if "loss" in one
            else f"probability of the true class {_cell(one.get('probability'))}",
            f"image {one.get('image')}",
        ]
        said = "<br>".join(map(text, lines))
        figures.append(
            f'<figure><img src="data:image/png;base64,{image}" '
            f'alt="{text(", ".join(lines))}"><figcaption>{said}</figcaption></figure>'
        )
    return f'<div class="images">{"".join(figures)}</div>' if figures else ""


def _cell(value: Any) -> str:
    return tables_lib.cell(numbers.number(value))


def _is_png(value: str) -> bool:
    """True for the base64 text of a PNG, which holds nothing that ends an attribute."""
    if len(value) > _MOST_BYTES:
        return False
    try:
        return base64.b64decode(value, validate=True).startswith(_PNG)
    except (binascii.Error, ValueError):
        return False
