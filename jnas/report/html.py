"""An HTML report of any number of runs: one file that makes no network request.

Its Content-Security-Policy allows its scripts and style sheets, each by its hash, the
images that are inside the file, and nothing else: no request, no event handler and no
evaluated text, even if names in the runs' files contain HTML.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jnas.report import (
    embed,
    evaluated,
    facts,
    first,
    groups,
    listed,
    script,
    sections,
    style,
    svg,
)
from jnas.report import runs as runs_lib
from jnas.report import tables as tables_lib


def write_report(
    path: str | os.PathLike,
    runs: Sequence[runs_lib.RunFiles],
    *,
    title: str | None = None,
    tables: Mapping[str, tables_lib.Table] | None = None,
) -> None:
    """Writes an HTML report of one or more runs.

    Sections without data are left out. Every text is escaped, and drawings are reduced
    to shapes and text.

    Args:
      path: the file to write; replaced atomically.
      runs: as from ``report.load``, in the order of the report.
      title: title of the report; None means the launcher's name, or the number of runs.
      tables: title -> further table, such as final results, shown first.

    Raises:
      ValueError: the rows of a table differ in length.
    """
    path = pathlib.Path(path)
    text = page(runs, title=title, tables=tables)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def page(
    runs: Sequence[runs_lib.RunFiles],
    *,
    title: str | None = None,
    tables: Mapping[str, tables_lib.Table] | None = None,
) -> str:
    """Returns the HTML text of the report; see ``write_report``."""
    runs, tables = list(runs), dict(tables or {})
    drawings = _drawings(runs)
    parts = [
        *((name, sections.table(one)) for name, one in tables.items()),
        *(sections.overview(runs) if len(runs) > 1 else []),
        *evaluated.parts(runs),
        *_charts(runs, has_tables=bool(tables)),
        ("Pareto front", listed.fronts(runs)),
        ("Best evaluations", listed.evaluations(runs)),
        ("Cells", sections.figures(drawings)),
        ("Seeds", listed.seeds(runs)),
        ("Genotypes", sections.genotypes(runs)),
        ("Further figures", first.rest(runs)),
        *facts.record(runs),
    ]
    parts = [(name, content) for name, content in parts if content]
    body = [first.screen(runs, title or _title(runs))]
    body += [sections.contents([name for name, _ in parts])]
    body += [sections.section(n, *part) for n, part in enumerate(parts)]
    styles = [text for one in drawings.values() for text in one.styles]
    return _document(title or _title(runs), "\n".join(filter(None, body)), styles)


def _charts(
    runs: Sequence[runs_lib.RunFiles], *, has_tables: bool
) -> list[tuple[str, str]]:
    """Returns the sections with charts; the comparison also as a table."""
    from jnas.report import pictures  # imported late: importing Altair is slow

    made = {
        "Confusion matrix": pictures.confusions(runs),
        "Comparison of methods": pictures.comparisons(runs),
        "Trade-offs": pictures.fronts_of(runs),
        "Search": pictures.searches(runs),
        "Training from scratch": pictures.trainings(runs),
        "Mixing weights and operations": pictures.weights(runs),
    }
    found, number = [], 0
    for name, charts in made.items():
        placed = [embed.place(one, number + i) for i, one in enumerate(charts)]
        number += len(charts)
        content = f'<div class="charts">{"".join(placed)}</div>' if placed else ""
        if name == "Comparison of methods" and not has_tables:
            content += sections.comparison_table(runs)
        found.append((name, content))
    return found


def _document(title: str, body: str, styles: Sequence[str]) -> str:
    scripts = [script.SCRIPT]
    if "data-chart" in body:
        scripts.insert(0, embed.library())
    images = "data:image/png" in body
    allowed = embed.policy(scripts, [style.STYLE, *styles], images=images)
    running = "\n".join(f"<script>{text}</script>" for text in scripts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{embed.text(title)}</title>
<style>{style.STYLE}</style>
</head>
<body>
<main>
{body}
</main>
{running}
</body>
</html>
"""


def _title(runs: Sequence[runs_lib.RunFiles]) -> str:
    if len(runs) == 1:
        return groups.launcher(runs[0].run)
    return f"{len(runs)} runs"


def _drawings(runs: Sequence[runs_lib.RunFiles]) -> dict[str, svg.Inline]:
    """Returns the drawings of all runs; a damaged one is left out."""
    found: dict[str, Any] = {}
    for run in runs:
        for title, text in run.drawings.items():
            name = f"{run.name}: {title}" if len(runs) > 1 else title
            try:
                found[name] = svg.inline(text)
            except ValueError:
                continue
    return found
