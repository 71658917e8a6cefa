"""Which network ``auto`` gives: the best on validation that keeps the limits."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jnas.studies import baseline_verdict, baselines, hand_made, limits
from jnas.studies.auto.plan import COMPARE, TUNED
from jnas.studies.retrain import MODELS
from jnas.studies.trained import MODEL

_SEARCHED = (baselines.FOUND, TUNED)


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


def models(done: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Returns name -> model's folder of every trained network, the found one first.

    Args:
      done: step -> content of its result.json.
    """
    found = {baselines.FOUND: f"{COMPARE}/{MODEL}"}
    found |= {TUNED: f"{TUNED}/{MODEL}"} if TUNED in done else {}
    for row in done[COMPARE].get("cells") or ():
        if row["name"] != baselines.FOUND:
            found[row["name"]] = f"{COMPARE}/{MODELS}/{row['name']}"
    return found


def candidates(
    done: Mapping[str, Mapping[str, Any]],
    bounds: Mapping[str, float],
    latencies: Mapping[str, float],
) -> list[Candidate]:
    """Lists the trained networks: the found one first, then the tuned one.

    Args:
      done: step -> content of its result.json.
      bounds: cost -> bound.
      latencies: model's folder -> measured milliseconds; empty where latency is not
        limited.
    """
    compared, found = done[COMPARE], []
    rows = {row["name"]: row for row in compared.get("cells") or ()}
    rows |= {baselines.FOUND: compared, TUNED: done.get(TUNED)}
    for name, place in models(done).items():
        took = latencies.get(place)
        more = {} if took is None else {limits.LATENCY_MS: took}
        figures, kept = {**rows[name], **more}, bounds
        if name in _SEARCHED:  # the search's cells keep the other limits
            kept = {n: v for n, v in bounds.items() if n in more}
        why = hand_made.excess(figures, kept)
        found.append(Candidate(name, figures, place, why))
    return found


def choose(found: Sequence[Candidate]) -> Candidate:
    """Returns the candidate with the best validation accuracy, the first of equal ones.

    Args:
      found: the candidates; where all are excluded, the search's own are taken.
    """
    possible = [one for one in found if not one.excluded]
    possible = possible or [one for one in found if one.name in _SEARCHED] or found
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
    if chosen.excluded:
        said += f" No network keeps the limits: {chosen.excluded} here, too."
    for one in found:
        if one.excluded and one is not chosen:
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
    names = (*baselines.COLUMNS, limits.LATENCY_MS)
    figures = {n: one.figures[n] for n in names if n in one.figures}
    return {"name": one.name, **figures}
