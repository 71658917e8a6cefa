"""What a run ends with: its files, and a table, a verdict and the next command."""

import dataclasses
import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from jnas import directions, networks, report
from jnas import settings as settings_lib
from jnas.report import tables as report_tables
from jnas.run import files, record, workdir
from jnas.spaces import drawing, genotype_text
from jnas.spaces import genotype as genotypes
from jnas.studies import cells

_SPLITS = ("test", "valid")
_NO_SIGNALS = ("loss", "accuracies", "values", "seconds")
_COUNTS = ("parameters", "macs", "latency_ms", "seconds")
_SEED_FILE = "genotype_seed_{}.json"
_MOST_ROWS = 12  # of a front in the closing table


def close(
    run: workdir.Run,
    genotype: genotypes.Genotype,
    result: Mapping[str, Any],
    *,
    tables: Mapping[str, report.Table] | None = None,
) -> None:
    """Writes genotype.json, cell.svg, result.json and report.html, and ends the run.

    Args:
      run: the open run.
      genotype: the found cell.
      result: final figures of the run.
      tables: title -> table, for the report.
    """
    run.hand_over()
    text, svg = genotype_text.to_json(genotype), drawing.draw(genotype)
    run.write_text("genotype.json", text)
    run.write_text("cell.svg", svg)
    finish(run, result, tables=tables)


def close_search(
    run: workdir.Run,
    found: Sequence[genotypes.Genotype],
    result: Mapping[str, Any],
    *,
    size: networks.Size | None = None,
    image_shape: tuple[int, int, int] | None = None,
    best: int = 0,
    next_command: str = "",
) -> dict[str, Any]:
    """Ends a search: each seed's genotype, its cost, the verdict and the next command.

    Args:
      run: the open run.
      found: the cell of each seed.
      result: final figures, with ``verdict`` and ``warnings``, and ``seeds`` where
        there are several.
      size: of the networks that are counted; None counts none.
      image_shape: rows, columns and channels of one image.
      best: number of the seed whose cell is the run's.
      next_command: command that uses the cell.

    Returns:
      The content of result.json.
    """
    counted = [_counts(one, size, image_shape) if size else {} for one in found]
    result = {**result, **counted[best], "next": next_command}
    if "seeds" in result:
        several = zip(result["seeds"], counted, found, strict=True)
        result["seeds"] = [
            {**one, **counts, "genotype": json.loads(genotype_text.to_json(cell))}
            for one, counts, cell in several
        ]
    if len(found) > 1:
        for number, cell in enumerate(found):
            name = _SEED_FILE.format(number)
            run.write_text(name, genotype_text.to_json(cell))
    close(run, found[best], result)
    return files.plain(result)


def _counts(genotype, size, image_shape) -> dict[str, int]:
    """Counts a cell's network without its auxiliary head."""
    found = networks.measure(networks.derived(genotype, size), image_shape)
    return {name: found[name] for name in ("parameters", "macs")}


def finish(
    run: workdir.Run,
    result: Mapping[str, Any],
    *,
    tables: Mapping[str, report.Table] | None = None,
) -> None:
    """Writes report.html and result.json, and ends the run.

    In this order, because a run with a result.json is finished and never resumed: a run
    that is killed here writes its report when it is resumed.

    Args:
      run: the open run.
      result: final figures of the run.
      tables: title -> table, for the report.
    """
    run.hand_over()
    ended = run.record | {"status": "finished", "ended": record.now()}
    page = dataclasses.replace(
        report.load(run.workdir), run=ended, result=files.plain(dict(result))
    )
    path = run.workdir / "report.html"
    with files.writing(path):
        report.write_report(path, [page], tables=tables)
    run.finish(result)


def text(folder: pathlib.Path, result: Mapping[str, Any]) -> str:
    """Returns what a user reads at the end of a run, from its result alone.

    Args:
      folder: run folder.
      result: content of result.json.
    """
    shown = _with_front(folder, result)
    lines = [report.markdown(table(shown))]
    rest = shown.get("left_out", 0)
    lines += [f"({rest} more cells of the front are in front.json)"] if rest else []
    genotype = folder / "genotype.json"
    if genotype.exists():
        cell = genotype_text.load(genotype)
        lines.append(f"cell: {cells.short(cell)}\n      {genotype}")
    if "cells" in shown or len(shown.get("seeds") or ()) > 1:
        counts = [
            f"{n} {report_tables.cell(result[n])}" for n in _COUNTS if n in result
        ]
        name = result.get("chosen", "found")
        lines += [f"{name}: {', '.join(counts)}"] if counts else []
    lines += filter(None, [result.get("verdict")])
    lines += [f"warning: {one}." for one in result.get("warnings") or ()]
    kept = [one for one in ("model", "supernet") if (folder / one).is_dir()]
    lines += [f"{one}: {folder / one}" for one in kept]
    lines.append(f"report: {folder / 'report.html'}")
    if result.get("next"):
        lines.append(f"next: {result['next']}")
    return "\n".join(lines)


def _with_front(folder: pathlib.Path, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Adds the cells of the front, evenly thinned, as rows of the closing table."""
    path = folder / "front.json"
    if not path.exists():
        return result
    front = files.read_json(path)["front"]
    every = max(1, -(-len(front) // _MOST_ROWS))
    cells_of_front = [
        {"name": f"evaluation {one['evaluation']}", **one["scores"]}
        for one in front[::every]
    ]
    left_out = len(front) - len(cells_of_front)
    return {**result, "cells": cells_of_front, "left_out": left_out}


def finished(run: workdir.Run) -> str:
    """Returns what a finished run says when its command is run again.

    Args:
      run: the run.
    """
    return f"{is_finished(run)}\n{text(run.workdir, run.finished)}"


def is_finished(run: workdir.Run) -> str:
    """Returns the sentence that a run is finished.

    Args:
      run: the run.
    """
    return f"{run.workdir} is finished; use a new --workdir for another run."


def table(result: Mapping[str, Any]) -> report.Table:
    """Returns the closing table: a row a cell or seed, its accuracies and its cost.

    Args:
      result: content of result.json.
    """
    rows = result.get("cells") or result.get("seeds") or ()
    if len(rows) < 2:
        rows = [{"name": result.get("network", "found"), **result}]
    wanted = result.get("directions") or {}
    names = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if name in wanted or name in _COUNTS or _is_judged(name)
    ]
    names.sort(key=_place)
    known = {name: directions.Metric(name, wanted[name]) for name in wanted}
    header = [
        n if n.endswith("_sd") else (known.get(n) or directions.declared(n)).label
        for n in names
    ]
    return report.Table(
        ("network" if _has_others(result) else "cell", *header),
        [[_named(row), *(row.get(name) for name in names)] for row in rows],
    )


def _has_others(result: Mapping[str, Any]) -> bool:
    """Whether not all networks of a result are of cells."""
    return "best_baseline" in result or "network" in result


def _is_judged(name: str) -> bool:
    """Whether a figure says how good a network is, such as an accuracy."""
    plain = name.removesuffix("_sd")
    if plain.endswith("_accuracy"):
        return not plain.startswith("train_")
    split, _, what = plain.partition("_")
    return split in _SPLITS and what not in _NO_SIGNALS and not plain.endswith("_mean")


def _place(name: str) -> int:
    """The signals that count first, then other metrics, then the counts."""
    plain = name.removesuffix("_sd")
    if plain in ("test_accuracy", "valid_accuracy"):
        return -1
    return _COUNTS.index(name) + 1 if name in _COUNTS else 0


def _named(row: Mapping[str, Any]) -> str:
    return str(row.get("name", f"seed {row.get('seed')}"))


def retrain_command(run: workdir.Run, *settings: Any, **numbers: Any) -> str:
    """Returns the command that trains the found cell from scratch.

    Args:
      run: the open run.
      *settings: of data and images; their flags are those of the training too.
      **numbers: flag -> value, of the numbers that the user of the search set.
    """
    folder = run.workdir
    given = {
        "workdir": f"{folder}_retrain",
        "genotype": folder / "genotype.json",
        **{k: v for one in settings for k, v in settings_lib.changed(one).items()},
        **numbers,
    }
    plugins = [one["path"] for one in run.record.get("plugins") or ()]
    if plugins:
        given["plugins"] = ",".join(plugins)
    return " ".join([launcher(run, "retrain"), *map(_flag, given.items())])


def launcher(run: workdir.Run, name: str) -> str:
    """Returns how a launcher is called, as the run's own launcher was.

    Args:
      run: the open run.
      name: of the other launcher, such as "retrain".
    """
    return record.launcher(str(run.record.get("command", "")), name)


def _flag(item: tuple[str, Any]) -> str:
    name, value = item
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={shlex.quote(str(value))}"
