"""The sections of a report that list architectures: fronts, evaluations and seeds."""

from collections.abc import Callable, Sequence

from jnas.report import found, numbers, sections
from jnas.report import runs as runs_lib
from jnas.report import tables as tables_lib
from jnas.report.embed import text

_MOST = 60  # rows of a front, picked evenly
_BEST = 10  # evaluations


def fronts(runs: Sequence[runs_lib.RunFiles]) -> str:
    """Returns the Pareto front of each run that has one, as a table."""
    return _each(runs, found.front_table, "front.json")


def evaluations(runs: Sequence[runs_lib.RunFiles]) -> str:
    """Returns the best evaluations of each run that has some, as a table."""
    return _each(
        runs, lambda run: found.evaluations_table(run, _BEST), "evaluations.jsonl"
    )


def seeds(runs: Sequence[runs_lib.RunFiles]) -> str:
    """Returns the figures and the genotype of each seed of runs of several seeds."""
    return _each(
        [run for run in runs if len(found.seeds(run)) > 1],
        found.seeds_table,
        "result.json",
        named=len(runs) > 1,
    )


def _each(
    runs: Sequence[runs_lib.RunFiles],
    make: Callable[[runs_lib.RunFiles], tables_lib.Table],
    file: str,
    *,
    named: bool | None = None,
) -> str:
    """Returns a table of each run with rows; of several runs each in a fold."""
    made = [(run.name, make(run)) for run in runs]
    parts = [(name, one) for name, one in made if one.rows]
    named = len(runs) > 1 if named is None else named
    return "\n".join(
        sections.fold(name, _shown(one, file)) if named else _shown(one, file)
        for name, one in parts
    )


def _shown(one: tables_lib.Table, file: str) -> str:
    rows = numbers.thinned(one.rows, _MOST)
    note = (
        f"{len(rows)} of the {len(one.rows)} rows; "
        if len(rows) < len(one.rows)
        else ""
    )
    shown = sections.table(tables_lib.Table(one.header, rows))
    return f'{shown}<p class="note">{text(note)}all of them are in {text(file)}</p>'
