"""Which network ``auto`` gives: the best on validation that keeps the limits."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jnas.studies import baseline_verdict, baselines, limits
from jnas.studies.auto.plan import COMPARE, TUNED
from jnas.studies.retrain import MODELS
from jnas.studies.trained import MODEL


class Candidate(NamedTuple):
    """A trained network.

    Attributes:
      name: found, tuned, or that of a baseline.
      figures: of its training.
      model: its model's folder, in that of the run.
      excluded: why it cannot be chosen; empty where it can.
    """

    name: str
    figures: Mapping[str, Any]
    model: str
    excluded: str = ""


def candidates(
    done: Mapping[str, Mapping[str, Any]], bounds: Mapping[str, float]
) -> list[Candidate]:
    """Lists the trained networks: the found one first, then the tuned one.

    Args:
      done: step -> content of its result.json.
      bounds: cost -> bound.
    """
    compared = done[COMPARE]
    found = [Candidate(baselines.FOUND, compared, f"{COMPARE}/{MODEL}")]
    if TUNED in done:
        found.append(Candidate(TUNED, done[TUNED], f"{TUNED}/{MODEL}"))
    for row in compared.get("cells") or ():
        if row["name"] != baselines.FOUND:
            place = f"{COMPARE}/{MODELS}/{row['name']}"
            why = _excluded(row, bounds)
            found.append(Candidate(row["name"], row, place, why))
    return found


def _excluded(row: Mapping[str, Any], bounds: Mapping[str, float]) -> str:
    """Returns why a baseline does not keep the limits; the search's cells do."""
    for name, bound in bounds.items():
        if name == limits.LATENCY_MS:
            return "its latency was not measured"
        if row[name] > bound:
            return f"its {row[name]:,} {name} exceed {bound:,.12g}"
    return ""


def choose(found: Sequence[Candidate]) -> Candidate:
    """Returns the candidate with the best validation accuracy, the first of equal ones.

    Args:
      found: the candidates; the first is never excluded.
    """
    possible = [one for one in found if not one.excluded]
    return max(possible, key=lambda one: one.figures["valid_accuracy"])


def verdict(
    chosen: Candidate, found: Sequence[Candidate], compared: Mapping[str, Any]
) -> str:
    """Returns what was chosen, and how it compares on the test split, in sentences.

    Args:
      chosen: of ``choose``.
      found: all candidates.
      compared: result.json of the comparison, with its verdict.
    """
    others = [one for one in found if one is not chosen and not one.excluded]
    said = f"Chosen by validation accuracy: {_named(chosen)}, "
    said += f"{chosen.figures['valid_accuracy']:.4f}"
    if others:
        best = choose(others)
        said += f" against {best.figures['valid_accuracy']:.4f} of {_named(best)}"
    said += "."
    for one in found:
        if one.excluded:
            name = _named(one)
            said += f" {name[0].upper()}{name[1:]} could not be chosen: {one.excluded}."
    if chosen.name == TUNED:
        rivals = {
            one.name: tuple(one.figures.get("test_accuracies") or ())
            or baseline_verdict.accuracies(one.figures)
            for one in found
            if one.name not in (TUNED, baselines.FOUND)
        }
        if rivals:
            mine = baseline_verdict.accuracies(chosen.figures)
            return f"{said} {baseline_verdict.compare(mine, rivals).text}"
    if compared.get("verdict") and "best_baseline" in compared:
        return f"{said} {compared['verdict']}"
    return said


def _named(one: Candidate) -> str:
    if one.name == TUNED:
        return "the found network with tuned settings"
    if one.name == baselines.FOUND:
        return "the found network"
    return f"the baseline {one.name}"


def row(one: Candidate) -> dict[str, Any]:
    """Returns a candidate as a row of the closing table.

    Args:
      one: the candidate.
    """
    figures = {n: one.figures[n] for n in baselines.COLUMNS if n in one.figures}
    return {"name": one.name, **figures}
