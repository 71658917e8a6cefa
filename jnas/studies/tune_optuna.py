"""Optuna as a tuner: its samplers propose batches of trials.

A batch is a function of the trials before it and of the seed, so that a resumed run
proposes what an undisturbed one does. Optuna is imported where it is used.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jnas import registry
from jnas.training import ranges as ranges_lib

JOURNAL = "optuna.journal"
SAMPLERS = {  # name -> (class of optuna.samplers, its options)
    "tpe": ("TPESampler", {"multivariate": True, "constant_liar": True}),
    "random": ("RandomSampler", {}),
    "gp": ("GPSampler", {}),
}  # those whose state is not in the trials (CMA-ES, QMC) would begin anew each batch


def check(sampler: str) -> None:
    """Checks that Optuna and a sampler are there.

    Args:
      sampler: its name; "" means tpe.

    Raises:
      ValueError: no such sampler; Optuna, or what the sampler needs, is missing.
    """
    if sampler and sampler not in SAMPLERS:
        raise ValueError(
            f"tuner must name one of the samplers {', '.join(SAMPLERS)}, got "
            f"{sampler!r}. {registry.nearest(sampler, SAMPLERS)}".rstrip()
        )
    study = _study(sampler, 0)
    try:  # some samplers import what they need when they first propose
        for _ in range(12):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            study.tell(trial, 0.5)
    except ImportError as error:
        raise _lacking(sampler, error) from None


def _optuna():
    try:
        import optuna
    except ImportError as error:
        raise ValueError(
            f"optuna must be installed for --tuner=optuna, got {error}. "
            "Run pip install 'jnas[tune]'."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _lacking(sampler: str, error: ImportError) -> ValueError:
    return ValueError(
        f"sampler {sampler} must have what it needs, got {error}. Install it or use "
        "optuna:tpe."
    )


def _study(sampler: str, seed: int):
    optuna = _optuna()
    kind, how = SAMPLERS[sampler or "tpe"]
    try:
        made = getattr(optuna.samplers, kind)(seed=seed, **how)
    except ImportError as error:
        raise _lacking(sampler, error) from None
    return optuna.create_study(sampler=made, direction="maximize")


def _distributions(ranges: Sequence[ranges_lib.Range]) -> dict[str, Any]:
    kind = _optuna().distributions.FloatDistribution
    return {one.name: kind(one.low, one.high, log=one.log) for one in ranges}


def _frozen(found: Sequence[Mapping[str, Any]], ranges) -> list[Any]:
    """Returns the trials in Optuna's form; those that diverged have failed."""
    optuna, known = _optuna(), _distributions(ranges)
    states = optuna.trial.TrialState
    return [
        optuna.trial.create_trial(
            params={one.name: _inside(trial, one) for one in ranges},
            distributions=known,
            value=score,
            state=states.FAIL if score is None else states.COMPLETE,
        )
        for trial, score in zip(found, map(_score, found), strict=True)
    ]


def _score(trial: Mapping[str, Any]) -> float | None:
    return next(value for name, value in trial.items() if name.startswith("valid_"))


def _inside(trial: Mapping[str, Any], one: ranges_lib.Range) -> float:
    """A float32 may lie beyond the bound that it was rounded from."""
    return float(np.clip(trial["settings"][one.name], one.low, one.high))


def propose(
    found: Sequence[Mapping[str, Any]],
    ranges: Sequence[ranges_lib.Range],
    count: int,
    *,
    tuner: str,
    seed: tuple[int, int],
) -> list[dict[str, float]]:
    """Returns the numbers of the next trials.

    Args:
      found: the trials so far, with ``settings`` and a score ``valid_...``.
      ranges: of the numbers.
      count: number of trials.
      tuner: "optuna" or "optuna:SAMPLER".
      seed: of the run, and number of the batch.

    Returns:
      name -> number, for each trial.
    """
    sampler = tuner.partition(":")[2]
    drawn = np.random.SeedSequence(seed).generate_state(1)[0]
    study = _study(sampler, int(drawn))
    study.add_trials(_frozen(found, ranges))
    known = _distributions(ranges)
    return [dict(study.ask(known).params) for _ in range(count)]


def write_journal(
    folder: pathlib.Path,
    found: Sequence[Mapping[str, Any]],
    ranges: Sequence[ranges_lib.Range],
) -> None:
    """Writes all trials as an Optuna journal, for its dashboard and plots.

    Args:
      folder: run folder.
      found: the trials.
      ranges: of the numbers.
    """
    optuna = _optuna()
    beside, path = folder / f".{JOURNAL}.tmp", folder / JOURNAL
    beside.unlink(missing_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(beside))
    study = optuna.create_study(
        study_name="jnas",
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize",
    )
    study.add_trials(_frozen(found, ranges))
    beside.replace(path)
