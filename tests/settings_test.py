"""Tests of settings and pieces: a number is written once, checked, shown, read back."""

import dataclasses
import functools

import pytest

from jnas import pieces, registry, settings
from jnas.gradient import methods, relaxations
from jnas.settings import option
from jnas.studies import (
    cells,
    compare_controllers,
    compare_methods,
    make_table,
    search_discrete,
    search_gradient,
    settings_file,
    setup,
    train_scratch,
    tune,
)

CLASSES = [
    cells.GenotypeSettings,
    compare_controllers.CompareSettings,
    compare_methods.MethodsSettings,
    make_table.TableSettings,
    search_discrete.DiscreteSettings,
    search_gradient.SearchSettings,
    setup.DataSettings,
    setup.SpaceSettings,
    train_scratch.RetrainSettings,
    tune.TuneSettings,
    settings_file.FileSettings,
    methods.Method,
    methods.Stage,
]
REQUIRED = {"genotype": "random", "source": "a paper", "method": methods.pcdarts()}


def made(cls):
    """An instance with the defaults."""
    names = {field.name for field in dataclasses.fields(cls)}
    needs = {field.name for field in dataclasses.fields(cls)
             if field.default is dataclasses.MISSING}  # fmt: skip
    return cls(**{name: REQUIRED[name] for name in names & needs})


@dataclasses.dataclass(frozen=True)
class Training:
    """Settings of one test."""

    epochs: int = option(50, "Passes over the data.", least=1, most=99)
    rate: float | None = option(None, "A rate.", least=0)
    dtype: str = option("float32", "A type.", among=("float32", "bfloat16"))
    relaxation: pieces.Piece = option("softmax", "A.", pieces=registry.RELAXATIONS)
    regularizers: tuple[pieces.Piece, ...] = option(
        (), "Some.", pieces=registry.REGULARIZERS
    )
    __post_init__ = settings.check


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_has_a_help_text_and_a_known_group(cls):
    """A sentence that begins with a capital and ends with a full stop."""
    for field in dataclasses.fields(cls):
        text = field.metadata["help"]
        assert text[0].isupper() and text[-1] == ".", (field.name, text)
        assert field.metadata["group"] in settings.GROUPS
        assert settings.kind(cls, field.name) in (bool, int, float, str, tuple) or (
            field.type is methods.Method
        )


@pytest.mark.parametrize("cls", CLASSES)
def test_settings_come_back_from_json(cls):
    """To JSON, back, and to JSON again: the same."""
    one = made(cls)
    values = settings.to_json(one)
    assert settings.to_json(settings.from_json(cls, values)) == values
    assert settings.from_json(cls, values) == one


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(epochs=0), "epochs must be at least 1, got 0. Choose a larger one."),
        (dict(epochs=100), "epochs must be at most 99, got 100. Choose a smaller one."),
        (dict(rate=-0.5), "rate must be at least 0, got -0.5."),
        (dict(rate=float("nan")), "rate must be at least 0, got nan."),
        (
            dict(dtype="float23"),
            "one of float32, bfloat16, got 'float23'. Did you mean",
        ),
    ],
)
def test_values_out_of_range_are_refused(changes, words):
    """By the name of the field."""
    with pytest.raises(ValueError, match=words):
        Training(**changes)
    assert Training(rate=None).rate is None


def test_unknown_fields_are_refused_with_the_nearest():
    """A settings file of another version is not half read."""
    with pytest.raises(ValueError, match="got 'epoch'. Did you mean 'epochs'?"):
        settings.from_json(Training, {"epoch": 3})


def test_a_piece_is_described_with_every_number_of_its_own():
    """Defaults, those of a partial, and those that a command line sets."""
    piece = functools.partial(relaxations.gumbel_softmax, start=5.0)
    wanted = {"name": "gumbel_softmax", "start": 5.0, "end": 0.03}
    assert pieces.describe(registry.RELAXATIONS, piece) == wanted
    back = pieces.restore(registry.RELAXATIONS, wanted)
    assert back.keywords == {"start": 5.0} and back.func is relaxations.gumbel_softmax
    plain = wanted | {"start": 1.0}
    assert pieces.restore(registry.RELAXATIONS, plain) == "gumbel_softmax"
    assert pieces.describe(registry.RELAXATIONS, "gumbel_softmax") == plain


def test_every_registered_piece_is_described_in_json():
    """So that run.json can hold it."""
    for known in (registry.RELAXATIONS, registry.HYPERGRADIENTS, registry.SELECTIONS,
                  registry.PERTURBATIONS, registry.REGULARIZERS,
                  registry.CONTROLLERS, registry.OPTIMIZERS):  # fmt: skip
        for name in known:
            about = pieces.describe(known, name)
            assert pieces.restore(known, about) == name
            assert all(
                isinstance(v, bool | int | float | str | None) for v in about.values()
            )


def apply(texts, **fields):
    """Settings with options."""
    return pieces.apply(Training(**fields), pieces.parse(texts))


def test_options_go_to_the_pieces_of_their_slot():
    """To every piece that has the option, or to the one that is named."""
    one, used = apply(["relaxation.start=5"], relaxation="gumbel_softmax")
    assert one.relaxation.keywords == {"start": 5.0}
    assert used == ["relaxation.start"]
    both = ("zero_one", "dirichlet_kl")
    one, _ = apply(["regularizer.strength=2"], regularizers=both)
    assert [r.keywords for r in one.regularizers] == [{"strength": 2.0}] * 2
    one, _ = apply(["regularizer.zero_one.strength=2"], regularizers=both)
    assert one.regularizers[0].keywords == {"strength": 2.0}
    assert one.regularizers[1] == "dirichlet_kl"
    one, used = apply(["elsewhere.x=1"])
    assert one == Training() and not used


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            ["relaxation.strat=5"],
            "'strat' for relaxation gumbel_softmax. Did you mean 's",
        ),
        (
            ["relaxation.start=fast"],
            "gumbel_softmax.start must be a number, got 'fast'",
        ),
        (["start=5"], "must have the form piece.option=value, got 'start=5'"),
        (["relaxation.start"], "must have the form piece.option=value"),
        (
            ["relaxation.start=1", "relaxation.start=2"],
            "given once, got 'relaxation.st",
        ),
        (
            ["regularizer.strength=1"],
            "where regularizer is not set. Options there: none",
        ),
        (["relaxation.softmax.start=1"], "where relaxation is gumbel_softmax. Options"),
    ],
)
def test_wrong_options_are_refused(texts, words):
    """What the piece has, or the form to write."""
    with pytest.raises(ValueError, match=words):
        apply(texts, relaxation="gumbel_softmax")


def test_a_piece_without_the_option_names_those_that_have_it():
    """An advice that can be followed."""
    with pytest.raises(
        ValueError, match="has none; choose one that has it: annealed_softmax, "
    ):
        apply(["relaxation.start=5"])


def test_options_are_read_as_their_own_type():
    """By the default, or by the annotation where the default is None."""

    def piece(x, *, count=1, rate=0.5, on=False, name="a", limit: int | None = None,
              initial: list | None = None):  # fmt: skip
        return x

    known = registry.Registry("toy")
    known.register(piece)
    texts = {"count": "3", "rate": "2", "on": "true", "name": "3", "limit": "7"}
    bound = pieces.bind(known, "piece", texts)
    wanted = {"count": 3, "rate": 2.0, "on": True, "name": "3", "limit": 7}
    assert bound.keywords == wanted and type(bound.keywords["rate"]) is float
    assert "initial" not in pieces.options(piece)
    for text, words in (("1.5", "an integer"), ("x", "an integer")):
        with pytest.raises(ValueError, match=f"must be {words}, got '{text}'"):
            pieces.bind(known, "piece", {"count": text})
    with pytest.raises(ValueError, match="must be true or false, got '1'"):
        pieces.bind(known, "piece", {"on": "1"})


def test_none_is_an_option_that_may_be_none():
    """One that a method has set as well; elsewhere it is no number."""
    known = registry.Registry("piece")

    @known.register
    def piece(*, size: int | None = None, count: int = 1, name: str | None = None):
        del size, count, name

    made = pieces.bind(known, functools.partial(piece, size=7), {"size": "None"})
    assert made.keywords == {"size": None}
    assert pieces.bind(known, "piece", {"name": "none"}).keywords == {"name": "none"}
    with pytest.raises(ValueError, match="count must be an integer, got 'none'"):
        pieces.bind(known, "piece", {"count": "none"})


def test_near_misses_are_useful():
    """Initials are a name; so is a word of it."""
    flags = ["layers", "learning_rate", "final_learning_rate", "logits_learning_rate",
             "logits_weight_decay", "weight_decay", "batch_size", "epochs", "num_seeds",
             "method", "workdir"]  # fmt: skip
    for asked, wanted in {
        "lr": "learning_rate", "bs": "batch_size", "wd": "weight_decay",
        "num_epochs": "epochs", "seeds": "num_seeds", "batchsize": "batch_size",
        "batch-size": "batch_size", "workdri": "workdir", "epoch": "epochs",
    }.items():  # fmt: skip
        assert registry.nearest(asked, flags) == f"Did you mean '{wanted}'? ", asked
    assert registry.nearest("zzz", flags) == ""
