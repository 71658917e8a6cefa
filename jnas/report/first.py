"""The first screen of a report: warnings, a headline, and the main figures as tiles."""

from collections.abc import Mapping, Sequence
from typing import Any

from jnas.report import directed, headline, sections
from jnas.report import runs as runs_lib
from jnas.report import tables as tables_lib
from jnas.report.embed import sentence, text, whole

_SHOWN_APART = ("verdict", "warnings", "next")  # not in the table of a result
_MOST_WARNINGS = 12
_OPEN_VERDICTS = 4  # of at most so many runs they are not folded


def screen(runs: Sequence[runs_lib.RunFiles], title: str) -> str:
    """Returns the title, warnings and headline; of one run also tiles.

    Args:
      runs: one or more runs.
      title: title of the report.
    """
    parts = [_head(runs, title), _warnings(runs), _headline(runs)]
    parts += [_tiles(runs[0])] if len(runs) == 1 else []
    return "\n".join(filter(None, parts))


def _head(runs: Sequence[runs_lib.RunFiles], title: str) -> str:
    """Returns the title and a line with status, device, start and seed."""
    if len(runs) == 1:
        run = runs[0].run
        facts = [run.get("status"), run.get("device"), run.get("started")]
        facts += [f"seed {run['seed']}"] if "seed" in run else []
    else:
        facts = [", ".join(run.name for run in runs)]
    line = " · ".join(whole(str(fact)) for fact in facts if fact is not None)
    return f'<h1>{text(title)}</h1>\n<p class="lead">{line}</p>'


def _warnings(runs: Sequence[runs_lib.RunFiles]) -> str:
    """Returns a box with each run's warnings; empty without any."""
    found = [
        f"{run.name}: {one}" if len(runs) > 1 else one
        for run in runs
        for one in headline.warnings(run)
    ]
    if not found:
        return ""
    name = "Warning" if len(found) == 1 else f"{len(found)} warnings"
    shown, more = found[:_MOST_WARNINGS], found[_MOST_WARNINGS:]
    rows = _items(shown) + (
        sections.fold(f"{len(more)} more", _items(more)) * bool(more)
    )
    return f'<div class="warnings" role="alert"><b>{name}</b>{rows}</div>'


def _items(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{sentence(one)}</li>" for one in lines) + "</ul>"


def _headline(runs: Sequence[runs_lib.RunFiles]) -> str:
    said = " ".join(sentence(one) for one in headline.sentences(runs))
    verdicts = {run.name: headline.verdict(run) for run in runs}
    lines = [f"{name}: {one}" for name, one in verdicts.items() if one]
    if len(runs) == 1:
        shown = sentence(verdicts[runs[0].name])
        shown = f'<p class="verdict">{shown}</p>' if shown else ""
    elif len(lines) <= _OPEN_VERDICTS:
        shown = _items(lines) if lines else ""
    else:
        shown = sections.fold(f"Verdicts of {len(lines)} runs", _items(lines))
    parts = [f"<p>{said}</p>" if said else "", shown]
    if len(runs) == 1:
        parts.append(_next(runs[0].result.get("next")))
    content = "".join(parts)
    return f'<div class="headline">{content}</div>' if content else ""


def _next(command: Any) -> str:
    if not isinstance(command, str) or not command:
        return ""
    return (
        '<p class="next">Next: '
        '<button type="button" data-copy="next" hidden>Copy</button></p>'
        f'<pre id="next">{" ".join(map(whole, command.split(" ")))}</pre>'
    )


def _tiles(run: runs_lib.RunFiles) -> str:
    """Returns at most six figures of a result, the most important first."""
    known, figures = directed.of([run]), directed.figures(run.result)
    tiles = "".join(
        f'<div class="tile"><b>{text(_shown(run.result, name, figures))}</b>'
        f"<span>{text(sections.words(directed.label(name, known)))}</span></div>"
        for name in headline.ranked(run)
    )
    return f'<div class="tiles">{tiles}</div>' if tiles else ""


def _shown(result: Mapping[str, Any], name: str, figures: Mapping[str, Any]) -> str:
    return tables_lib.cell(result.get(name, figures[name]))  # an int stays one


def rest(runs: Sequence[runs_lib.RunFiles]) -> str:
    """Returns a single run's figures that are no tiles, texts and lists, as a table."""
    return _rest(runs[0]) if len(runs) == 1 else ""


def _rest(run: runs_lib.RunFiles) -> str:
    apart = {*headline.ranked(run), *_SHOWN_APART}
    known, figures = directed.of([run]), directed.figures(run.result)
    rest = {}
    for name, value in run.result.items():
        plain = name.removeprefix("-")
        if plain in apart:
            continue
        if value is None or isinstance(value, int | float):
            shown = figures[plain] if plain != name else value
            rest[directed.label(plain, known)] = tables_lib.cell(shown)
        elif isinstance(value, str) or (isinstance(value, list) and _flat(value)):
            rest[name] = value
    return sections.names(rest)


def _flat(values: list) -> bool:
    return not any(isinstance(value, dict | list) for value in values)
