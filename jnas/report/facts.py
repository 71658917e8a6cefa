"""The last sections of a report: tables of metrics, and the details of each run."""

from collections.abc import Mapping, Sequence
from typing import Any

from jnas.report import directed, groups, numbers, sections
from jnas.report import runs as runs_lib
from jnas.report import tables as tables_lib
from jnas.report.embed import text

_MOST_ROWS = 40  # rows of a phase's metrics, picked evenly
_MOST_ROWS_OF_MANY = 15  # the same in a report of several runs


def record(runs: Sequence[runs_lib.RunFiles]) -> list[tuple[str, str]]:
    """Returns sections of metrics and run details; of several runs, one fold each."""
    if len(runs) == 1:
        figures = _metrics(runs[0], _MOST_ROWS)
        return [("Metrics", _folds(figures)), ("Run details", _what(runs[0]))]
    parts = []
    for run in runs:
        figures = _metrics(run, _MOST_ROWS_OF_MANY)
        tables = "".join(f"<h3>{text(name)}</h3>{one}" for name, one in figures)
        parts.append((run.name, _what(run) + tables))
    return [("Run details", _folds(parts))]


def _folds(parts: Sequence[tuple[str, str]]) -> str:
    """Returns parts that a click unfolds; a single part is always open."""
    if len(parts) == 1:
        return f"<h3>{text(parts[0][0])}</h3>{parts[0][1]}"
    return "\n".join(sections.fold(name, content) for name, content in parts)


def _what(run: runs_lib.RunFiles) -> str:
    versions, data = run.run.get("versions"), run.run.get("data")
    parts = {
        "": _facts(run),
        "Data": data if isinstance(data, dict) else {},
        "Flags": groups.flags(run.run),
        "Versions": versions if isinstance(versions, dict) else {},
    }
    return "\n".join(
        (f"<h3>{name}</h3>" if name else "") + sections.names(facts)
        for name, facts in parts.items()
        if facts
    )


def _facts(run: runs_lib.RunFiles) -> dict[str, Any]:
    given = run.run
    known = (
        "command",
        "status",
        "error",
        "seed",
        "device",
        "data_digest",
        "git_commit",
        "started",
        "ended",
        "changes",
    )
    facts = {name: given[name] for name in known if given.get(name) is not None}
    extended = groups.extended_from(run)
    if extended:
        epochs = ", then ".join(map(str, extended))
        facts["extended_from"] = f"{epochs} epochs, after which it was finished"
    starts = given.get("starts")
    if isinstance(starts, list) and starts:
        facts["earlier_starts"] = [
            f"{start.get('started')} ({start.get('status')})"
            for start in starts
            if isinstance(start, dict)
        ]
    return facts


def _metrics(run: runs_lib.RunFiles, most: int) -> list[tuple[str, str]]:
    """Returns (phase, table of its metrics), in order of appearance."""
    phases: dict[str, list[dict[str, Any]]] = {}
    for line in run.metrics:
        values = {key: value for key, value in line.items() if key != "phase"}
        phases.setdefault(str(line.get("phase", "run")), []).append(values)
    known = directed.of([run])
    return [
        (sections.words(name), _epochs(lines, most, known))
        for name, lines in phases.items()
    ]


def _epochs(
    lines: Sequence[Mapping[str, Any]], most: int, known: Mapping[str, str]
) -> str:
    picked = numbers.thinned(lines, most)
    note = f"{len(picked)} of the {len(lines)} lines in metrics.jsonl"
    found = tables_lib.from_records(picked)
    header = [directed.label(str(name), known) for name in found.header]
    shown = sections.table(found._replace(header=header))
    return f'{shown}<p class="note">{note}</p>'
