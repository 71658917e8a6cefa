"""What a tuning writes and says: its trials, the best settings, the next command."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jnas import report
from jnas.run import workdir
from jnas.spaces import genotype as genotypes
from jnas.studies import closing, settings_file, tune

TRIALS, BEST = "tune.jsonl", "best.json"
_MOST_ROWS = 10


def close(
    run: workdir.Run,
    genotype: genotypes.Genotype,
    settings: tune.TuneSettings,
    found: Sequence[Mapping[str, Any]],
    tested: Mapping[str, Any],
    *shared: Any,
) -> dict[str, Any]:
    """Ends the run of a tuning with its files and the next command.

    Args:
      run: the open run.
      genotype: the cells.
      settings: of the tuning.
      found: its trials.
      tested: result of the winner's training; empty without one.
      *shared: settings of data, for the next command.

    Returns:
      The content of result.json.
    """
    best = tune.winner(found)
    run.write_text(TRIALS, "".join(f"{json.dumps(one)}\n" for one in found))
    kept = tune.retrain_settings(settings, best["settings"])
    signal = tune.signal_of(best)
    about = {n: best[n] for n in ("trial", signal, "epochs")}
    run.write_text(BEST, settings_file.to_json(kept, **about))
    seed = {"seed": run.seed} if run.seed else {}
    command = closing.retrain_command(run, *shared, settings=run.workdir / BEST, **seed)
    result = {
        **tested,
        signal: best[signal],
        "settings": best["settings"],
        "trial": best["trial"],
        "trials": len(found),
        "images": sum(one["images"] for one in found),
        "next": command,
    }
    closing.close(run, genotype, result, tables={"Best trials": table(found)})
    return result


def table(found: Sequence[Mapping[str, Any]]) -> report.Table:
    """Returns the best ten trials, one a row.

    Args:
      found: the trials.
    """
    best = tune.ranking(found)[:_MOST_ROWS]
    names, signal = list(best[0]["settings"]), tune.signal_of(best[0])
    return report.Table(
        ("trial", *names, "rung", "epochs", "images", f"{signal} ↑"),
        [
            [
                str(one["trial"]),
                *(one["settings"][name] for name in names),
                one["rung"],
                one["epochs"],
                one["images"],
                one[signal],
            ]
            for one in best
        ],
    )


def text(folder: pathlib.Path, result: Mapping[str, Any]) -> str:
    """Returns what a user reads at the end of a tuning.

    Args:
      folder: run folder.
      result: content of result.json.
    """
    lines = (folder / TRIALS).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    best = ", ".join(f"{n} {v:.4g}" for n, v in result["settings"].items())
    return "\n".join(
        [
            report.markdown(table(found)),
            f"best: trial {result['trial']}: {best}\n      {folder / BEST}",
            closing.text(folder, result),
        ]
    )
