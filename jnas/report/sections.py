"""The sections of a report that consist of text and tables."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jnas.report import directed, groups, spreads, svg
from jnas.report import runs as runs_lib
from jnas.report import tables as tables_lib
from jnas.report.embed import sentence, text

_MOST_COLUMNS = 8  # columns of figures in the table of runs
_LONG = 60  # characters; longer texts in tables may break over lines


def section(number: int, title: str, content: str) -> str:
    """Returns a section with a heading that ``contents`` links to."""
    heading = f'<h2 id="part-{number}">{text(title)}</h2>'
    return f"<section>\n{heading}\n{content}\n</section>"


def contents(titles: Sequence[str]) -> str:
    """Returns links to the sections."""
    links = (f'<a href="#part-{i}">{text(t)}</a>' for i, t in enumerate(titles))
    return f"<nav>{''.join(links)}</nav>"


def overview(runs: Sequence[runs_lib.RunFiles]) -> list[tuple[str, str]]:
    """Returns tables of several runs: their figures, and the flags that differ."""
    known = directed.of(runs)
    figures = {name: directed.label(name, known) for name in _figures(runs)}
    rows = [
        {
            "run": run.name,
            "launcher": groups.launcher(run.run),
            "status": run.run.get("status"),
            "seed": _plain(run.run.get("seed")),
        }
        | _labelled(run, figures)
        for run in runs
    ]
    apart = _apart(runs)
    flags = [
        {"run": run.name}
        | {name: _plain(groups.flags(run.run).get(name)) for name in apart}
        for run in runs
    ]
    found = [("Runs", table(tables_lib.from_records(rows)))]
    if apart:
        found.append(("Flags that differ", table(tables_lib.from_records(flags))))
    return found


def _labelled(run: runs_lib.RunFiles, labels: Mapping[str, str]) -> dict[str, Any]:
    """Returns label -> figure of a result; an int stays one."""
    plain = directed.figures(run.result)
    return {
        label: run.result.get(name, plain.get(name)) for name, label in labels.items()
    }


def _figures(runs: Sequence[runs_lib.RunFiles]) -> list[str]:
    """Returns the names of results that get a column, test figures first."""
    known = dict.fromkeys(
        name
        for run in runs
        for name, value in directed.figures(run.result).items()
        if value is not None and not name.startswith("count_")
    )
    order = ("test", "valid", "score", "parameters", "macs", "seconds")

    def rank(name):
        return next((i for i, one in enumerate(order) if one in name), len(order))

    return sorted(known, key=rank)[:_MOST_COLUMNS]


def _apart(runs: Sequence[runs_lib.RunFiles]) -> list[str]:
    """Returns the flags that differ among runs of the same launcher."""
    found: dict[str, dict[str, str]] = {}
    apart = []
    for run in runs:
        first = found.setdefault(groups.launcher(run.run), {})
        for name, value in groups.flags(run.run).items():
            if first.setdefault(name, repr(value)) != repr(value):
                apart.append(name)
    return list(dict.fromkeys(apart))


def _plain(value: Any) -> Any:
    """Returns a seed or flag as the user wrote it, without thousands separators."""
    return str(value) if tables_lib.is_number(value) else value


def comparison_table(runs: Sequence[runs_lib.RunFiles]) -> str:
    """Returns a table of methods: mean, standard deviation and n of each metric."""
    compared, known = spreads.compare(runs), directed.of(runs)
    rows: dict[str, dict[str, str]] = {}
    for metric, methods in compared.items():
        for one in methods:
            sd = f" ± {tables_lib.cell(one.sd)}" if one.sd is not None else ""
            shown = f"{tables_lib.cell(one.mean)}{sd} (n = {one.n})"
            row = rows.setdefault(one.name, {"method": one.name})
            row[directed.label(metric, known)] = shown
    return table(tables_lib.from_records(list(rows.values()))) if rows else ""


def table(one: tables_lib.Table) -> str:
    """Returns the HTML of a table, which scrolls sideways where it is wide."""
    tables_lib.check(one)
    kinds = [' class="number"' if n else "" for n in tables_lib.numeric_columns(one)]

    def row(tag, values):
        cells = (
            f"<{tag}{kind}>{text(tables_lib.cell(value))}</{tag}>"
            if kind or not _is_long(value)
            else f'<{tag} class="long">{_breaking(value)}</{tag}>'
            for value, kind in zip(values, kinds, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    top = row("th", map(words, one.header))
    rows = "\n".join(row("td", values) for values in one.rows)
    return (
        f'<div class="wide"><table>\n<thead>{top}</thead>\n'
        f"<tbody>{rows}</tbody>\n</table></div>"
    )


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _LONG


def _breaking(value: str) -> str:
    """Escapes a genotype, which may break over lines after a bar or comma."""
    return re.sub(r"\||,(?!\d)", r"\g<0><wbr>", text(value))


def names(facts: Mapping[str, Any]) -> str:
    """Returns the HTML of a table with a name and a value per row."""
    if not facts:
        return ""
    rows = "\n".join(
        f"<tr><th>{text(words(name))}</th><td>{_fact(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f'<table class="names"><tbody>\n{rows}\n</tbody></table>'


def _fact(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return text(str(value))  # as the user wrote it, without thousands separators
    return sentence(tables_lib.cell(value)) or "-"


def words(name: Any) -> str:
    """Returns a name with spaces for underscores."""
    return str(name).replace("_", " ")


def figures(drawings: Mapping[str, svg.Inline]) -> str:
    """Returns the HTML of drawings with their captions."""
    return "".join(
        f'<figure><div class="wide">{drawing.markup}</div>'
        f"<figcaption>{text(title)}</figcaption></figure>"
        for title, drawing in drawings.items()
    )


def genotypes(runs: Sequence[runs_lib.RunFiles]) -> str:
    """Returns the JSON of the genotypes; a click selects it, a button copies it."""
    found = []
    for number, run in enumerate(runs):
        if not run.genotype:
            continue
        name = f"genotype-{number}"
        content = (
            f'<button type="button" data-copy="{name}" hidden>Copy</button>'
            f'<pre id="{name}">{text(run.genotype.rstrip())}</pre><p class="note">'
            "genotype.json; click the text to select all of it</p>"
        )
        found.append(fold(run.name, content) if len(runs) > 1 else content)
    return "\n".join(found)


def fold(title: str, content: str) -> str:
    """Returns content that a click unfolds."""
    return f"<details><summary>{text(title)}</summary>{content}</details>"
