"""Tests of `jnas evaluate`: what it counts, what it shows, and what it refuses."""

import base64
import dataclasses
import io
import json
import re

import forks
import made_models
import made_runs
import numpy as np
import pytest
from PIL import Image

from jnas import data, models, report, run
from jnas.report import charts
from jnas.studies import evaluate

DIGITS = made_models.digits(1)  # 8x8; the model downscales
HOSTILE_TAG = "<img src=x"
NAMED = dataclasses.replace(DIGITS, class_names=made_models.NAMES)


def settings(split="test"):
    """Settings whose model and data are given as objects."""
    return evaluate.EvaluateSettings("model", "digits", split)


def evaluated(folder, dataset, split="test"):
    """The result of the made model."""
    flags = {"model": "runs/r", "split": split}
    with run.open_run(folder, flags=flags) as opened:
        model = made_models.model()
        return evaluate.evaluate(opened, model, dataset, settings(split))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The run of one evaluation."""
    path = tmp_path_factory.mktemp("evaluate")
    evaluated(path, NAMED)
    return path


def test_figures_are_counted(folder):
    """Accuracies, confusions and the worst images, one image at a time."""
    result = json.loads((folder / "result.json").read_text())
    found = made_models.model().predict(DIGITS.x_test)
    counts = [[0] * 10 for _ in range(10)]
    for label, predicted in zip(DIGITS.y_test, found.classes, strict=True):
        counts[label][predicted] += 1
    assert result["confusion"] == counts
    right = sum(counts[k][k] for k in range(10))
    assert result["test_accuracy"] == round(right / 400, 6) and result["images"] == 400
    assert 0 < right < 400
    for k, one in enumerate(result["classes"]):
        assert one["class"] == made_models.NAMES[k]
        assert one["images"] == sum(counts[k]) == (DIGITS.y_test == k).sum()
        assert one["accuracy"] == round(counts[k][k] / sum(counts[k]), 6)
    own = [p[y] for p, y in zip(found.probabilities, DIGITS.y_test, strict=True)]
    worst = sorted(range(400), key=lambda i: own[i])[:10]
    assert [one["image"] for one in result["worst"]] == worst
    for one in result["worst"]:
        assert one["true"] == made_models.NAMES[DIGITS.y_test[one["image"]]]
        assert one["predicted"] == found.names[one["image"]]
        assert one["probability"] == pytest.approx(own[one["image"]])


def test_the_report_shows_them(folder):
    """Counts in the matrix, pixels in the images, nothing from outside."""
    page = (folder / "report.html").read_text()
    result = json.loads((folder / "result.json").read_text())
    matrix = page.split('<table class="matrix">')[1].split("</table>")[0]
    cells = re.findall(r'<td class="number[^>]*>([\d,]+)</td>', matrix)
    assert list(map(int, cells)) == sum(result["confusion"], [])
    shown = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    assert len(shown) == 10
    for one, text in zip(result["worst"], shown, strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(text)))
        pixels = DIGITS.x_test[one["image"], ..., 0]
        assert np.array_equal(np.asarray(picture), pixels)
    assert "img-src data:;" in page and "http-equiv" in page
    assert "The model runs/r was evaluated (test split)" in page
    assert f"test accuracy\xa0{result['test_accuracy']:.4g}" in page


def test_the_training_split(tmp_path):
    """Its own accuracy, under its own name."""
    result = evaluated(tmp_path, NAMED, "train")
    found = made_models.model().predict(DIGITS.x_train).classes
    wanted = round(float((found == DIGITS.y_train).mean()), 6)
    assert result["train_accuracy"] == wanted and "test_accuracy" not in result
    assert result["images"] == 1397


def test_classes_are_matched_by_name(folder, tmp_path):
    """Labels in another order give the same figures, and it is said."""
    order = np.roll(np.arange(10), 3)  # class k of these data is order[k] of the model
    back = np.argsort(order).astype(np.int32)
    turned = dataclasses.replace(
        DIGITS,
        y_train=back[DIGITS.y_train],
        y_test=back[DIGITS.y_test],
        class_names=tuple(made_models.NAMES[k] for k in order),
    )
    result = evaluated(tmp_path, turned)
    before = json.loads((folder / "result.json").read_text())
    assert result.pop("notes") == [
        "the data's classes are in another order; they are matched by name"
    ]
    assert before.pop("notes") == [] and result == before


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([*made_models.NAMES[1:], "ten"], "'ten', which the model .* none of 'zero'"),
        ([*made_models.NAMES, "ten"], "got 'ten', which the model does not know. R"),
        (made_models.NAMES[:9], "got none of 'nine'"),
        ([*made_models.NAMES, "nine"], "a name twice"),
        ([f"{n}!" for n in made_models.NAMES], "'eight!', 'five!', 'four!' and 7 more"),
    ],
)
def test_other_classes_are_refused(names, words):
    """With the names that one side alone has."""
    other = dataclasses.replace(
        DIGITS, class_names=tuple(names), num_classes=len(names)
    )
    with pytest.raises(ValueError, match=words):
        evaluate.match_classes(other, made_models.model())


def test_classes_without_names_are_matched_by_number():
    """If there are as many."""
    model = made_models.model()
    unnamed = dataclasses.replace(DIGITS, class_names=())
    order, said = evaluate.match_classes(unnamed, model)
    assert order.tolist() == list(range(10))
    assert said == ["the data names no classes: they are matched by number"]
    with pytest.raises(ValueError, match="the model's 10 classes, got 3"):
        evaluate.match_classes(dataclasses.replace(unnamed, num_classes=3), model)


def test_folders_are_read_as_the_model_was(tmp_path):
    """Resized, on its background; grey as colours where the model's are."""
    for split in ("train", "test"):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = np.full((9, 7), 40 * i + 60 * (name == "a"), np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{i}.png")
    model = made_models.model()
    found = evaluate.load_data(f"folder:{tmp_path}", model)
    assert found.x_test.shape == (6, 8, 8, 1) and found.class_names == ("a", "b")
    own = evaluate.load_data(f"folder:{tmp_path}?size=4", model)
    assert own.x_test.shape == (6, 4, 4, 1)
    how = model.preprocessing
    colours = dataclasses.replace(
        how, image_shape=(4, 4, 3), mean=how.mean * 3, std=how.std * 3
    )
    architecture = model.architecture._replace(channels=3)
    model = models.Model(architecture, {}, {}, colours)
    found = evaluate.load_data(f"folder:{tmp_path}", model)
    assert found.x_test.shape == (6, 8, 8, 3)
    assert "grey images are read as colours" in found.notes[-1]


def test_data_of_another_size_are_refused():
    """Before anything is compiled."""
    with pytest.raises(ValueError, match="must be 8x8 pixels with 1 channel"):
        evaluate.load_data("fashion", made_models.model())
    assert evaluate.load_data("digits", made_models.model()).image_shape == (8, 8, 1)


def many(count, names=None):
    """A run whose model confuses each class with the next."""
    counts = np.diag(np.full(count, 5)) + np.roll(np.eye(count, dtype=int), 1, 1)
    names = names or [f"class {k}" for k in range(count)]
    classes = [{"class": name, "accuracy": 5 / 6, "images": 6} for name in names]
    result = {"test_accuracy": 5 / 6, "classes": classes, "confusion": counts.tolist()}
    return report.RunFiles("many", run=made_runs.record(), result=result)


def test_a_hundred_classes_are_a_chart(tmp_path):
    """Of the counts that are not zero; the table is folded after twenty classes."""
    spec = charts.confusion(many(100)).to_dict()
    (rows,) = spec["datasets"].values()
    assert len(rows) == 200 and {row["images"] for row in rows} == {5, 1}
    report.write_report(tmp_path / "a.html", [many(100)])
    page = (tmp_path / "a.html").read_text()
    assert "data-chart" in page and 'class="matrix"' not in page
    assert "80 more classes" in page and "img-src" not in page


def test_hostile_files_make_a_report(tmp_path):
    """Names with HTML, images that are none, matrices of another shape."""
    hostile = made_runs.HOSTILE
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 9).decode()
    worst = [
        {"true": hostile, "predicted": hostile, "probability": "x", "png": image},
        {"png": 'x" onerror="alert(1)'},
        {"png": base64.b64encode(b"GIF89a").decode()},
        {"png": None},
    ]
    runs = [dataclasses.replace(many(2, [hostile, "b"]), worst=worst)]
    for counts in ([[1]], [[1, 2], [3]], [[1, "x"], [0, 1]], [[1, -1], [0, 1]], 7):
        broken = many(2)
        runs.append(
            dataclasses.replace(broken, result=broken.result | {"confusion": counts})
        )
    report.write_report(tmp_path / "a.html", runs)
    page = (tmp_path / "a.html").read_text()
    assert page.count("<img ") == 1 and HOSTILE_TAG not in page
    assert page.count('<table class="matrix">') == 1


@pytest.mark.slow
def test_the_command(tmp_path):
    """As a user runs it; again; and with what is wrong."""
    names = data.load("digits").class_names
    models.save(tmp_path / "run" / "model", made_models.model(names=names))
    line = ["evaluate", "--model=run", "--data=digits"]
    done = forks.launch(*line, "--workdir=e", cwd=tmp_path, limit=60)
    assert done.status == 0, done.err
    found = made_models.model().predict(DIGITS.x_test).classes
    accuracy = (found == DIGITS.y_test).mean()
    assert done.out.startswith(f"test accuracy {accuracy:.4f} of 400 images\n")
    assert done.out.endswith("report: e/report.html\n")
    again = forks.launch(*line, "--workdir=e", cwd=tmp_path)
    assert again.out == (
        f"e is finished; use a new --workdir for another run.\n{done.out}"
    )
    record = json.loads((tmp_path / "e" / "run.json").read_text())
    assert record["status"] == "finished" and len(record["settings"]["model_sha256"])
    models.save(tmp_path / "run" / "model", made_models.model(1, names=names))
    models.save(tmp_path / "other", made_models.model())
    lines = {
        "another model": ([*line, "--workdir=e"], "model_sha256: "),
        "classes": ([*line, "--model=other", "--workdir=f"], "the model does not know"),
        "split": ([*line, "--workdir=f", "--split=valid"], "one of test, train"),
        "no data": (["evaluate", "--model=run", "--workdir=f"], "--data must be given"),
        "no model": (["evaluate", "--data=digits", "--workdir=f"], "--model must be"),
        "size": (["evaluate", "--model=run", "--data=fashion", "--workdir=f"], "8x8"),
    }
    assert forks.faults(lines, tmp_path) == {}
    assert not (tmp_path / "f").exists()
