"""Tests of trials one by one: bit by bit those of the tuning as one program."""

import functools

import jax
import numpy as np
import pytest
from toy_tuning import RANGES, WRONG_RATE, splits, tuning

from jnas.training import lineages, promotion, rungs, trials
from jnas.training import program as program_lib

NAMES = [one.name for one in RANGES]
RATES = [0.01, 0.3, 0.9, 0.05, WRONG_RATE + 1, 0.5, 0.2, 0.7, WRONG_RATE + 2]
KEY = jax.random.key(3)


def evolving(plan):
    """The promotion of population-based training."""
    return functools.partial(
        promotion.evolve, inside=lambda numbers: numbers, num_rungs=len(plan)
    )


HALVING = rungs.halving(9, min_epochs=1, max_epochs=9, eta=3)
HYPERBAND = rungs.hyperband(9, min_epochs=1, max_epochs=9, eta=3)
PBT = rungs.intervals(9, every=1, max_epochs=4)
TUNINGS = {
    "halving": tuning(HALVING, RATES),
    "hyperband": tuning(HYPERBAND),
    "random": tuning(rungs.single(9, max_epochs=3), RATES),
    "pbt": tuning(PBT, RATES, promote=evolving(PBT)),
}


def whole(made):
    """The trials of the tuning as one program, without weights."""
    program = trials.program(made._replace(side_by_side=1))
    state, _ = program_lib.run(program, program.init(KEY), splits())
    return state.inner


def one_by_one(made, scored):
    """The trials of the tuning whose rungs are scored by a function."""
    rounds = lineages.rounds(made, NAMES)
    state = rounds.init(KEY)
    for number in range(len(made.rungs)):
        state, encodings = rounds.asked(state, number)
        scores = np.stack([scored(one) for one in encodings])
        state, metrics = rounds.noted(state, np.int32(number), scores)
    return state, metrics


@pytest.mark.parametrize("name", TUNINGS)
def test_trials_are_those_of_one_program(name):
    """With kept weights and without, whatever promotes them."""
    made = TUNINGS[name]
    wanted = whole(made)
    kept = {}

    def load(encoding, like):
        del like
        return jax.tree.map(lambda x: x.copy(), kept.get(encoding.tobytes()))

    def keep(encoding, state):
        kept[encoding.tobytes()] = jax.tree.map(lambda x: x.copy(), state)

    for how in ({}, {"load": load, "keep": keep}):
        score = lineages.scorer(made, NAMES, splits(), **how)
        found, _ = one_by_one(made, functools.partial(score, KEY))
        for field in ("ranked", "numbers", "score", "rung", "epochs", "diverged"):
            own, other = getattr(found.trials, field), getattr(wanted, field)
            jax.tree.map(np.testing.assert_array_equal, own, other)
        np.testing.assert_array_equal(found.trials.copied, wanted.copied)
    assert (np.asarray(wanted.copied) >= 0).any() == (name == "pbt")
    assert np.asarray(wanted.diverged).any() == (name == "random")


def test_kept_weights_spare_the_rungs_before():
    """Each rung of each lineage is trained once: 9, 3 and 1 trainings of halving."""
    kept = {}
    made = TUNINGS["halving"]
    score = lineages.scorer(
        made,
        NAMES,
        splits(),
        load=lambda encoding, like: jax.tree.map(
            lambda x: x.copy(), kept.get(encoding.tobytes())
        ),
        keep=lambda encoding, state: kept.__setitem__(
            encoding.tobytes(), jax.tree.map(lambda x: x.copy(), state)
        ),
    )
    one_by_one(made, functools.partial(score, KEY))
    assert len(kept) == 9 + 3 + 1


def test_encodings_are_lineages():
    """Bits of float32, read back; the weights before are those of the last training."""
    lineage = np.array([[0.1, 3], [np.nan, np.nan], [0.3, -0.0]], np.float32)
    encoding = lineages.encoded(lineage, 2)
    assert encoding.dtype == np.int32 and encoding[0] == 2
    np.testing.assert_array_equal(lineages.decoded(encoding), lineage)
    earlier = lineages.before(encoding)
    np.testing.assert_array_equal(lineages.decoded(earlier), lineage[:1])
    assert lineages.before(earlier) is None
