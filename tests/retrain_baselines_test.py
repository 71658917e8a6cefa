"""retrain with hand-made networks: alone, and beside a genotype's."""

import csv
import json

import forks
import pytest

import jnas
from jnas import data, spaces
from jnas.spaces import genotype_text
from jnas.studies import baselines, recipe_rows, retrain, train_scratch

CELL = "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"
SHORT = ["--data=digits", "--shrink=2", "--batch_size=128", "--epochs=1"]
ALONE = ["--baseline=plain_cnn", "--parameters=1500"]
BESIDE = baselines.BaselineSettings((), 0, largest_cell=False)


def settings(**given):
    """Returns which network is trained, by default one of a genotype."""
    return retrain.NetworkSettings(**({"genotype": CELL} | given))


WRONG = {
    "both": ({"baseline": "resnet", "parameters": 900}, "got both"),
    "neither": ({"genotype": None}, "got neither"),
    "no parameters": ({"genotype": None, "baseline": "resnet"}, "parameters must be"),
    "no baseline": ({"parameters": 900}, "baseline must be given"),
}


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_half_of_a_choice_is_refused(given, words):
    """A genotype or a baseline with its parameters."""
    with pytest.raises(ValueError, match=words):
        settings(**given)


def test_an_unknown_baseline_is_refused_with_the_nearest():
    """As every registered name."""
    with pytest.raises(KeyError, match="mobilenet_v2"):
        settings(genotype=None, baseline="mobilenet_v3", parameters=900)


@pytest.mark.parametrize(
    ("beside", "given", "words"),
    [
        (baselines.BaselineSettings(("resnet",), 0, False), (), "baselines must come"),
        (baselines.BaselineSettings((), 2, False), (), "num_random must come"),
        (baselines.BaselineSettings((), 0, True), (), "largest_cell must come"),
        (BESIDE, ("features",), "features must be left out"),
        (BESIDE, ("auxiliary",), "auxiliary must be left out"),
        (BESIDE, ("stem",), "stem must be left out"),
    ],
)
def test_a_baseline_alone_has_nothing_of_cells(beside, given, words):
    """Of a genotype the same is allowed."""
    alone = settings(genotype=None, baseline="resnet", parameters=900)
    with pytest.raises(ValueError, match=words):
        retrain.check_beside(alone, beside, given)
    retrain.check_beside(settings(), beside, given)


def test_the_space_is_the_genotypes():
    """Without --space by its name; a space that does not hold it is refused."""
    cell = genotype_text.parse(CELL, space="nasbench201")
    several = baselines.BaselineSettings((), 2, largest_cell=False)
    assert retrain.space_of(cell, BESIDE, None) is None
    assert retrain.space_of(cell, several, None).name == "nasbench201"
    shared = genotype_text.parse(
        "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|",
        space="nasbench201",
    )
    assert (spaces.zoo.compact().encode(shared) >= 0).all()  # in another skeleton
    with pytest.raises(ValueError, match="space must hold the genotype"):
        retrain.space_of(shared, several, spaces.zoo.compact())
    for other in (spaces.zoo.darts(), spaces.zoo.compact()):
        with pytest.raises(ValueError, match="space must hold the genotype"):
            retrain.space_of(cell, several, other)


def test_the_recipe_of_a_baseline():
    """That of compact, of large images that of ImageNet; given flags win."""
    base = train_scratch.RetrainSettings(epochs=3)
    made, said = retrain.with_recipe(base, {"epochs"}, (32, 32, 3), "auto")
    row = recipe_rows.RECIPES["compact"]()
    assert made.epochs == 3 and made.warmup_epochs == 1
    assert made.learning_rate == row["learning_rate"] and not made.auxiliary
    assert said.startswith("recipe: compact (batch_size") and "features" not in said
    large, said = retrain.with_recipe(base, (), (224, 224, 3), "auto")
    assert said.startswith("recipe: imagenet") and large.label_smoothing == 0.1
    with pytest.raises(KeyError):
        retrain.with_recipe(base, (), (32, 32, 3), "compct")


def test_a_baseline_of_the_wanted_size():
    """At most 3 % above, by counting; too small a wish is refused."""
    digits = data.load("digits")
    asked = settings(genotype=None, baseline="resnet", parameters=4000)
    one = retrain.hand_made(asked, digits, train_scratch.RetrainSettings())
    assert 0.7 * 4000 < jnas.networks.baselines.count_of(one) <= 1.03 * 4000
    asked = settings(genotype=None, baseline="resnet", parameters=2)
    with pytest.raises(ValueError, match="parameters must be at least"):
        retrain.hand_made(asked, digits, train_scratch.RetrainSettings())


@pytest.mark.slow
def test_a_baseline_alone_is_a_model_for_every_command(tmp_path):
    """Trained, predicted with, evaluated, exported; run again it is finished."""
    line = ["retrain", *SHORT, *ALONE, "--workdir=r", "--valid_rate=0.2"]
    first = forks.launch(*line, cwd=tmp_path, limit=300)
    assert first.status == 0, first.err
    assert "| plain_cnn |" in first.out and "recipe: compact" in first.err
    result = json.loads((tmp_path / "r/result.json").read_text())
    assert result["baseline"]["name"] == "plain_cnn" and result["valid_accuracy"] > 0
    assert not list((tmp_path / "r").glob("genotype.json"))
    assert "The baseline plain_cnn was trained" in (
        tmp_path / "r/report.html"
    ).read_text().replace("\u200b", "").replace("<wbr>", "")
    model = jnas.load_model(tmp_path / "r")
    digits = data.shrink(data.load("digits"), 2)
    right = (model.predict(digits.x_test).classes == digits.y_test).mean()
    assert round(float(right), 4) == pytest.approx(result["test_accuracy"], abs=1e-3)
    again = forks.launch(*line, cwd=tmp_path)
    assert again.status == 0 and "is finished" in again.out
    others = [
        ["evaluate", "--model=r", "--data=digits", "--workdir=e"],
        ["export", "--model=r", "--format=stablehlo", "--out=m.stablehlo"],
    ]
    for other in others:
        answer = forks.launch(*other, cwd=tmp_path, limit=300)
        assert answer.status == 0, answer.err


@pytest.mark.slow
def test_networks_beside_a_genotypes(tmp_path):
    """One row and one model each, and the verdict; repeated it trains nothing."""
    line = [
        "retrain", *SHORT, f"--genotype={CELL}", "--features=2", "--layers=1",
        "--baselines=plain_cnn", "--num_random=2", "--valid_rate=0.2", "--workdir=r",
    ]  # fmt: skip
    first = forks.launch(*line, cwd=tmp_path, limit=300)
    assert first.status == 0, first.err
    names = ["found", "random_0", "random_1", "plain_cnn"]
    result = json.loads((tmp_path / "r/result.json").read_text())
    rows = {row["name"]: row for row in result["cells"]}
    assert list(rows)[:4] == names and "verdict" in result
    for name in names:
        folder = tmp_path / "r" / ("model" if name == "found" else f"models/{name}")
        figures = jnas.load_model(folder).figures
        assert figures["test_accuracy"] == rows[name]["test_accuracy"]
        assert figures["valid_accuracy"] == rows[name]["valid_accuracy"]
    table = [row for row in csv.reader(first.out.splitlines(), delimiter="|")]
    assert [row[1].strip() for row in table if len(row) > 2][2:6] == names
    again = forks.launch(*line, cwd=tmp_path)
    assert again.status == 0 and "is finished" in again.out
