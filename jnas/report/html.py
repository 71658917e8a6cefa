"""One page about one run: a file that needs nothing else and asks nobody.

The page has no script. Its Content-Security-Policy allows its style sheets, each by its
hash, and nothing else: no request, no script, no handler, wherever a name came from.
"""

import base64
import hashlib
import html
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jnas.report import style, svg
from jnas.report import tables as tables_lib

_MOST_ROWS = 40  # of a phase's metrics; the others are thinned out evenly


def write_report(
    path: str | os.PathLike,
    *,
    run: Mapping[str, Any],
    result: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    drawings: Mapping[str, str] | None = None,
    tables: Mapping[str, tables_lib.Table] | None = None,
    genotype: str = "",
) -> None:
    """Writes report.html about one run.

    Every text is escaped, and drawings are stripped of all but shapes and text.

    Args:
      path: the file; replaced as a whole.
      run: the content of run.json.
      result: the content of result.json; its numbers are shown first.
      metrics: the lines of metrics.jsonl.
      drawings: title -> SVG of a cell.
      tables: title -> table, such as the closing one.
      genotype: the text of genotype.json.

    Raises:
      ValueError: a drawing is no SVG, or a table is ragged.
    """
    path = pathlib.Path(path)
    text = page(run, result, metrics, drawings or {}, tables or {}, genotype)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def page(
    run: Mapping[str, Any],
    result: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    drawings: Mapping[str, str],
    named_tables: Mapping[str, tables_lib.Table],
    genotype: str,
) -> str:
    """Returns the text of the page; see ``write_report``."""
    command = str(run.get("command") or "jnas")
    inlined = {title: svg.inline(text) for title, text in drawings.items()}
    body = [
        f"<h1>{_text(_title(command))}</h1>",
        f'<p class="lead">{_text(_lead(run))}</p>',
        _tiles(result),
        *(_section(title, _table(table)) for title, table in named_tables.items()),
        _section("Cells", _figures(inlined)),
        *_metrics(metrics),
        _section("What was run", _names(_facts(run))),
        _section("Flags", _names(run.get("flags") or {})),
        _section("Versions", _names(run.get("versions") or {})),
        _genotype(genotype),
    ]
    styles = [style.STYLE, *(text for one in inlined.values() for text in one.styles)]
    return _document(_title(command), "\n".join(filter(None, body)), styles)


def _document(title: str, body: str, styles: Sequence[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in dict.fromkeys(styles))
    allowed = " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    policy = (
        f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{style.STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _text(value: str) -> str:
    """Escapes a text; a lone surrogate, as of a broken file name, is replaced."""
    return html.escape(value.encode(errors="replace").decode(), quote=True)


def _title(command: str) -> str:
    """The launcher's name: the first word of the command that ends in .py."""
    words = [word for word in command.split() if word.endswith(".py")]
    return pathlib.PurePosixPath(words[0]).stem if words else "jnas run"


def _lead(run: Mapping[str, Any]) -> str:
    facts = [run.get("status"), run.get("device"), run.get("started")]
    seed = f"seed {run['seed']}" if "seed" in run else None
    return " · ".join(str(fact) for fact in (*facts, seed) if fact is not None)


def _section(title: str, content: str) -> str:
    if not content:
        return ""
    return f"<section>\n<h2>{_text(title)}</h2>\n{content}\n</section>"


def _tiles(result: Mapping[str, Any]) -> str:
    """The final figures; what is longer than a number stands below as text."""
    tiles = "".join(
        f'<div class="tile"><b>{_text(tables_lib.cell(value))}</b>'
        f"<span>{_text(_words(name))}</span></div>"
        for name, value in result.items()
        if value is None or isinstance(value, int | float)
    )
    rest = {
        name: value
        for name, value in result.items()
        if value is not None and not isinstance(value, int | float)
    }
    return (f'<div class="tiles">{tiles}</div>' if tiles else "") + _section(
        "Result", _names(rest)
    )


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _table(table: tables_lib.Table) -> str:
    tables_lib.check(table)
    kinds = [' class="number"' if n else "" for n in tables_lib.numeric_columns(table)]

    def row(tag, values):
        cells = (
            f"<{tag}{kind}>{_text(tables_lib.cell(value))}</{tag}>"
            for value, kind in zip(values, kinds, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    head = row("th", map(_words, table.header))
    rows = "\n".join(row("td", values) for values in table.rows)
    return (
        f'<div class="wide"><table>\n<thead>{head}</thead>\n'
        f"<tbody>{rows}</tbody>\n</table></div>"
    )


def _names(facts: Mapping[str, Any]) -> str:
    """A table of name and value; the names stand in the first column."""
    if not facts:
        return ""
    rows = "\n".join(
        f"<tr><th>{_text(_words(name))}</th><td>{_fact(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f'<table class="names"><tbody>\n{rows}\n</tbody></table>'


def _fact(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return _text(str(value))  # a seed or a flag: as it was written, no commas
    return _text(tables_lib.cell(value)) or "-"


def _facts(run: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        "command",
        "status",
        "error",
        "seed",
        "device",
        "data_digest",
        "git_commit",
        "started",
        "ended",
    )
    facts = {name: run[name] for name in names if run.get(name) is not None}
    starts = run.get("starts") or []
    if starts:
        facts["earlier_starts"] = [
            f"{start.get('started')} ({start.get('status')})" for start in starts
        ]
    return facts


def _figures(drawings: Mapping[str, svg.Inline]) -> str:
    return "".join(
        f'<figure><div class="wide">{drawing.markup}</div>'
        f"<figcaption>{_text(title)}</figcaption></figure>"
        for title, drawing in drawings.items()
    )


def _metrics(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """One section for each phase, in order of appearance."""
    phases: dict[str, list[dict[str, Any]]] = {}
    for line in metrics:
        values = {key: value for key, value in line.items() if key != "phase"}
        phases.setdefault(str(line.get("phase", "run")), []).append(values)
    return [_section(_words(n).capitalize(), _epochs(v)) for n, v in phases.items()]


def _epochs(lines: Sequence[Mapping[str, Any]]) -> str:
    last = len(lines) - 1
    shown = min(len(lines), _MOST_ROWS)
    picked = {round(i * last / max(1, shown - 1)) for i in range(shown)}
    table = tables_lib.from_records([lines[i] for i in sorted(picked)])
    note = f"{len(picked)} of {len(lines)} lines of metrics.jsonl"
    return f'{_table(table)}<p class="note">{note}</p>'


def _genotype(genotype: str) -> str:
    if not genotype:
        return ""
    return _section(
        "Genotype",
        f"<pre>{_text(genotype.rstrip())}</pre>"
        '<p class="note">genotype.json; one click selects all of it</p>',
    )
