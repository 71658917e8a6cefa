"""The files that every experiment about one cell ends with."""

from collections.abc import Mapping
from typing import Any

from jnas import drawing, report
from jnas import genotype as genotypes
from jnas.run import metrics, workdir


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
      genotype: its cell.
      result: its final figures.
      tables: title -> table, for the report.
    """
    text, svg = genotypes.to_json(genotype), drawing.draw(genotype)
    run.write_text("genotype.json", text)
    run.write_text("cell.svg", svg)
    run.finish(result)
    report.write_report(
        run.workdir / "report.html",
        run=run.record,
        result=result,
        metrics=metrics.read(run.workdir),
        drawings={"cell": svg},
        tables=tables,
        genotype=text,
    )
