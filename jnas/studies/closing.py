"""The files that are written at the end of a run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jnas import report
from jnas.run import files, record, workdir
from jnas.spaces import drawing, genotype_text
from jnas.spaces import genotype as genotypes


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
    text, svg = genotype_text.to_json(genotype), drawing.draw(genotype)
    run.write_text("genotype.json", text)
    run.write_text("cell.svg", svg)
    finish(run, result, tables=tables)


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
    ended = run.record | {"status": "finished", "ended": record.now()}
    page = dataclasses.replace(
        report.load(run.workdir), run=ended, result=files.plain(dict(result))
    )
    path = run.workdir / "report.html"
    with files.writing(path):
        report.write_report(path, [page], tables=tables)
    run.finish(result)
