"""What ``auto`` ends with: the chosen model, a report, a verdict and next commands."""

import pathlib
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from jnas import models, report
from jnas.run import workdir
from jnas.spaces import genotype_text
from jnas.studies import baselines, closing, trained
from jnas.studies.auto import choice, commands
from jnas.studies.auto import plan as plan_lib
from jnas.studies.auto import run as run_lib
from jnas.studies.auto import setting as setting_lib


def close(
    run: workdir.Run,
    steps: run_lib.Auto,
    setting: setting_lib.Setting,
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
    found = choice.candidates(done, setting.asked.bounds, steps.latencies(done))
    chosen = choice.choose(found)
    model = models.load(run.workdir / chosen.model)
    models.save(run.workdir / trained.MODEL, model)
    compared = done[plan_lib.COMPARE]
    result = {
        **{k: v for k, v in choice.row(chosen).items() if k != "name"},
        "chosen": chosen.name,
        "cells": [choice.row(one) for one in found],
        "best_baseline": compared.get("best_baseline"),
        "verdict": choice.verdict(chosen, found, compared) + _seed(chosen, model),
        "warnings": warnings(steps, done),
        "rule": setting.asked.rule.name,
        "because": setting.asked.rule.because,
        "device": setting.facts.device,
        "minutes": setting.minutes,
        "minutes_used": round(steps.used / 60, 2),
        "commands": steps.commands(),
        "whole": whole_command(run, steps, chosen),
        "next": _next(run, "predict", "images", "FOLDER"),
    }
    if chosen.name not in (baselines.FOUND, plan_lib.TUNED):
        closing.finish(run, result, tables=tables(steps, found))
        return result
    cell = genotype_text.load(run.workdir / plan_lib.SEARCH / "genotype.json")
    closing.close(run, cell, result, tables=tables(steps, found))
    return result


def warnings(steps: run_lib.Auto, done: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns what a user must know: what was left out, and the search's warnings.

    Args:
      steps: that were gone through.
      done: step -> content of its result.json.
    """
    of_search = done[plan_lib.SEARCH].get("warnings") or ()
    return [*steps.left_out, *(f"search: {one}" for one in of_search)]


def tables(steps: run_lib.Auto, found: list[choice.Candidate]) -> dict[str, Any]:
    """Returns the tables of the report: the networks, and the steps.

    Args:
      steps: that were gone through.
      found: the candidates.
    """
    rows = [choice.row(one) for one in found]
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


def text(
    folder: pathlib.Path, result: Mapping[str, Any], start: Callable[[str], str]
) -> str:
    """Returns what a user reads at the end.

    Args:
      folder: of the run.
      result: content of result.json.
      start: name of a launcher -> how it is called, such as "jnas export".
    """
    place = shlex.quote(str(folder))
    export = f"{start('export')} --model={place}"
    lines = [
        closing.text(folder, result),
        f"      {export} --format=onnx --out=model.onnx",
        f"      {export} --format=tflite --out=model.tflite",
        f"with all training images: {result['whole']}",
        f"{result['minutes_used']:.1f} of {result['minutes']:g} minutes",
    ]
    return "\n".join(lines)


def whole_command(
    run: workdir.Run, steps: run_lib.Auto, chosen: choice.Candidate
) -> str:
    """Returns the command that trains the chosen network on all training images.

    Args:
      run: the open run.
      steps: that were gone through.
      chosen: the network.
    """
    tuned = chosen.name == plan_lib.TUNED
    step = steps.log.step(plan_lib.TUNED if tuned else plan_lib.COMPARE)
    left_out = {"workdir", "valid_rate", "num_seeds", "baselines", "allow_changed"}
    baseline = chosen.name not in (baselines.FOUND, plan_lib.TUNED)
    if baseline:
        left_out |= {"genotype", "features", "layers"}
    own = [f"--workdir={run.workdir}_whole"]
    if baseline:
        parameters = chosen.figures["parameters"]
        own += [f"--baseline={chosen.name}", f"--parameters={parameters}"]
    own += [
        one
        for one in step["flags"]
        if one.partition("=")[0].removeprefix("--") not in left_out
    ]
    return commands.shown(closing.launcher(run, "retrain"), own)


def _seed(chosen: choice.Candidate, model: models.Model) -> str:
    """Returns what is true of the model, where the figures are means over seeds."""
    if "test_accuracy_sd" not in chosen.figures:
        return ""
    return (
        " model/ is the seed with the best validation accuracy, test accuracy "
        f"{model.figures['test_accuracy']:.4f}."
    )


def _next(run, launcher, flag, value) -> str:
    start = closing.launcher(run, launcher)
    return f"{start} --model={shlex.quote(str(run.workdir))} --{flag}={value}"
