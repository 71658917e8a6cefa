"""Tables of the architectures that a run found: evaluations, fronts and seeds."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from jnas import directions
from jnas.report import directed, numbers
from jnas.report import runs as runs_lib
from jnas.report.tables import Table
from jnas.spaces import genotype_text


def evaluations_table(run: runs_lib.RunFiles, most: int = 10) -> Table:
    """Returns the best evaluations of a search, the best first.

    With several objectives, the best are those by the first one; ``front_table`` has
    the front of all. An architecture that was evaluated more than once is listed with
    its best evaluation, one without a score is left out. Files of an earlier release
    name a cell by its operations alone, which different cells share: all are listed.

    Args:
      run: a run with evaluations.jsonl; without it the table has no rows.
      most: largest number of rows.

    Example:
      >>> run = runs_lib.RunFiles("a", evaluations=[
      ...     {"evaluation": 0, "encoding": [0], "genotype": "|a~0|",
      ...      "scores": {"valid_12": 70.5}},
      ...     {"evaluation": 1, "encoding": [1], "genotype": "|b~0|",
      ...      "scores": {"valid_12": 80.5}}])
      >>> evaluations_table(run, most=1)
      Table(header=['evaluation', 'valid_12 ↑', 'genotype'], rows=[[1, 80.5, '|b~0|']])
    """
    signals = directed.signals(run)
    found, seen = [], set()
    for line in _best_first(run.evaluations, signals):
        same = str(line.get("encoding") or line.get("genotype") or len(seen))
        if len(found) < most and same not in seen:
            seen.add(same)
            found.append(line)
    return _scored(run, found)


def front_table(run: runs_lib.RunFiles) -> Table:
    """Returns the Pareto front in front.json, the best by the first objective first.

    Args:
      run: a run with front.json; without it the table has no rows.

    Example:
      >>> run = runs_lib.RunFiles("a", objectives={"macs": "minimize"}, front=[
      ...     {"evaluation": 4, "genotype": "|a~0|", "scores": {"macs": 9.0}}])
      >>> front_table(run)
      Table(header=['evaluation', 'macs ↓', 'genotype'], rows=[[4, 9.0, '|a~0|']])
    """
    return _scored(run, _best_first(run.front, directed.signals(run)))


def seeds_table(run: runs_lib.RunFiles) -> Table:
    """Returns the figures and the genotype of each seed of a run.

    The genotype is in its short form, as ``short`` writes it; seeds of a training,
    which has one for all, have no such column.

    Args:
      run: a run with seeds in result.json; else the table has its single genotype, or
        no row without one.

    Example:
      >>> run = runs_lib.RunFiles("a", result={"seeds": [
      ...     {"seed": 0, "valid_accuracy": 0.75, "genotype": "|a~0|"}]})
      >>> seeds_table(run)
      Table(header=['seed', 'valid_accuracy ↑', 'genotype'], rows=[[0, 0.75, '|a~0|']])
    """
    listed = seeds(run)
    found = [one for one in listed if "genotype" in one]
    last = ["genotype"] if found else []
    found = found or listed
    known = directed.of([run])
    names = dict.fromkeys(
        name
        for one in found
        for name, value in one.items()
        if name != "seed" and numbers.number(value) is not None
    )
    header = ["seed", *(directed.label(name, known) for name in names), *last]
    return Table(
        header,
        [
            [
                one.get("seed"),
                *map(one.get, names),
                *(short(one[name]) for name in last),
            ]
            for one in found
        ],
    )


def seeds(run: runs_lib.RunFiles) -> list[Mapping[str, Any]]:
    """Returns the seeds of result.json; without them the run's genotype and figures."""
    listed = run.result.get("seeds")
    listed = (
        [one for one in listed if isinstance(one, dict)] if _is_list(listed) else []
    )
    if listed or not run.genotype:
        return listed
    ends = tuple({f"_{run.signal}", "_accuracy"})
    kept = {n: v for n, v in run.result.items() if n.endswith(ends)}
    return [{"seed": run.run.get("seed")} | kept | {"genotype": run.genotype}]


def short(genotype: Any) -> str:
    """Returns a genotype in one line, which reads as the same genotype of its space.

    A string of a paper has no name of a space, so that only genotypes of that paper's
    space are written as one; those of others are JSON without spaces.

    Args:
      genotype: the content of genotype.json or its text; a short form is kept.
    """
    text = genotype if isinstance(genotype, str) else json.dumps(genotype)
    try:
        return genotype_text.short_form(genotype_text.from_json(text))
    except ValueError:
        pass  # a short form, or a file of another format
    try:
        return json.dumps(json.loads(text), separators=(",", ":"))
    except (ValueError, RecursionError):
        return text


def _best_first(
    lines: Iterable[Mapping[str, Any]], signals: list[directions.Metric]
) -> list[Mapping[str, Any]]:
    """Returns the lines with a score, sorted by the first objective, then the next."""

    def key(line):
        scores = directed.figures(line.get("scores"))
        values = [(scores.get(one.name), one.sign) for one in signals]
        return [float("inf") if v is None else -sign * v for v, sign in values]

    name = signals[0].name if signals else None
    known = [
        line
        for line in lines
        if directed.figures(line.get("scores")).get(name) is not None
    ]
    return sorted(known, key=key)


def _scored(run: runs_lib.RunFiles, lines: list[Mapping[str, Any]]) -> Table:
    known = directed.of([run])
    scores = [directed.figures(line.get("scores")) for line in lines]
    names = list(dict.fromkeys(name for one in scores for name in one))
    header = ["evaluation", *(directed.label(name, known) for name in names)]
    rows = [
        [line.get("evaluation"), *map(one.get, names), _architecture(line)]
        for line, one in zip(lines, scores, strict=True)
    ]
    return Table([*header, "genotype"], rows)


def _architecture(line: Mapping[str, Any]) -> str:
    found = line.get("genotype") or line.get("cell") or ""
    return found if isinstance(found, str) else short(found)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
