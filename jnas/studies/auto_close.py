"""What ``auto`` ends with: the chosen model, a report, a verdict and next commands."""

import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from jnas import models, report
from jnas.run import workdir
from jnas.spaces import genotype_text
from jnas.studies import (
    auto,
    auto_choice,
    auto_plan,
    baselines,
    closing,
    trained,
)


def close(
    run: workdir.Run,
    steps: auto.Auto,
    setting: auto.Setting,
    done: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Ends the run: model/, report.html and result.json.

    Args:
      run: the open run.
      steps: that were gone through.
      setting: what was fixed.
      done: step -> content of its result.json.

    Returns:
      The content of result.json.
    """
    found = auto_choice.candidates(done, setting.asked.bounds)
    chosen = auto_choice.choose(found)
    model = models.load(run.workdir / chosen.model)
    models.save(run.workdir / trained.MODEL, model)
    compared = done[auto_plan.COMPARE]
    result = {
        **{k: v for k, v in auto_choice.row(chosen).items() if k != "name"},
        "chosen": chosen.name,
        "cells": [auto_choice.row(one) for one in found],
        "best_baseline": compared.get("best_baseline"),
        "verdict": auto_choice.verdict(chosen, found, compared),
        "warnings": warnings(steps, done),
        "rule": setting.asked.rule.name,
        "because": setting.asked.rule.because,
        "device": setting.facts.device,
        "minutes": setting.minutes,
        "minutes_used": round(steps.used / 60, 2),
        "commands": steps.commands(),
        "next": _next(run, "predict", "images", "FOLDER"),
    }
    if chosen.name not in (baselines.FOUND, auto_plan.TUNED):
        closing.finish(run, result, tables=tables(steps, found))
        return result
    cell = genotype_text.load(run.workdir / auto_plan.SEARCH / "genotype.json")
    closing.close(run, cell, result, tables=tables(steps, found))
    return result


def warnings(steps: auto.Auto, done: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns what a user must know: what was left out, and the search's warnings.

    Args:
      steps: that were gone through.
      done: step -> content of its result.json.
    """
    of_search = done[auto_plan.SEARCH].get("warnings") or ()
    return [*steps.left_out, *(f"search: {one}" for one in of_search)]


def tables(steps: auto.Auto, found: list[auto_choice.Candidate]) -> dict[str, Any]:
    """Returns the tables of the report: the networks, and the steps.

    Args:
      steps: that were gone through.
      found: the candidates.
    """
    rows = [auto_choice.row(one) for one in found]
    begun = steps.log.content["steps"]
    lines = [
        [one["name"], round(one["planned"]), round(one["seconds"]), command]
        for one, command in zip(begun, steps.commands(), strict=True)
    ]
    header = ("step", "planned seconds", "seconds", "command")
    named = {"cells": rows, "best_baseline": None}
    return {
        "Networks": closing.table(named),
        "Steps": report.Table(header, lines),
    }


def text(folder: pathlib.Path, result: Mapping[str, Any], start: str) -> str:
    """Returns what a user reads at the end.

    Args:
      folder: of the run.
      result: content of result.json.
      start: how launchers are called, such as "jnas".
    """
    place = shlex.quote(str(folder))
    more = [
        f"{start.format('export')} --model={place} --format=onnx --out=model.onnx",
        f"{start.format('export')} --model={place} --format=tflite --out=model.tflite",
    ]
    used = f"{result['minutes_used']:.1f} of {result['minutes']:g} minutes"
    lines = [closing.text(folder, result), *(f"      {one}" for one in more), used]
    return "\n".join(lines)


def _next(run, launcher, flag, value) -> str:
    start = closing.launcher(run, launcher)
    return f"{start} --model={shlex.quote(str(run.workdir))} --{flag}={value}"
