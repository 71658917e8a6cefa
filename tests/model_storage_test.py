"""Tests of saved models: bit for bit, whole or not at all, and refused when damaged."""

import hashlib
import json
import os
import shutil

import jax
import made_models
import numpy as np
import pytest
from safetensors import numpy as safetensors

import jnas
from jnas import models
from jnas.models import folder as folder_lib

DIGITS = made_models.digits()
JSON, WEIGHTS = "model.json", "weights.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    models.save(folder, made_models.model())
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy that can be damaged."""
    return shutil.copytree(saved, tmp_path / "model")


def refused(path, *words):
    """The model is refused with a ValueError of one line that has these words."""
    with pytest.raises(ValueError) as error:
        models.load(path)
    text = str(error.value)
    assert "\n" not in text and len(text) < 900
    for word in words:
        assert word in text, text


def rewrite(folder, arrays):
    """Replaces the arrays, with the right SHA-256: what a hostile hand could do."""
    data = safetensors.save(arrays)
    (folder / WEIGHTS).write_bytes(data)
    content = json.loads((folder / JSON).read_text())
    digest = hashlib.sha256(data).hexdigest()
    content["weights"] |= {"sha256": digest, "bytes": len(data)}
    (folder / JSON).write_text(json.dumps(content))


def test_a_loaded_model_is_the_saved_one(saved):
    """Arrays, logits (bit for bit), preprocessing, names, figures."""
    before, after = made_models.model(), models.load(saved)
    for name in ("params", "stats"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(before, name), getattr(after, name)
        )
    wanted = before.logits(DIGITS.x_test)
    assert np.array_equal(after.logits(DIGITS.x_test), wanted)
    assert after.preprocessing == before.preprocessing
    assert after.class_names == made_models.NAMES
    assert after.figures == {"test_accuracy": 0.25}
    assert after.versions["jax"] == jax.__version__


def test_the_weights_can_be_read_by_name_with_safetensors_alone(saved):
    """The classifier's kernel; nothing else is in the folder."""
    arrays = safetensors.load_file(saved / WEIGHTS)
    linear = made_models.model().params["classifier"]["layers"][3]
    assert np.array_equal(arrays["classifier.kernel"], linear["kernel"])
    assert {path.name for path in saved.iterdir()} == {JSON, WEIGHTS}
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
    content = json.loads((saved / JSON).read_text())
    digest = hashlib.sha256((saved / WEIGHTS).read_bytes()).hexdigest()
    assert content["weights"]["sha256"] == digest
    assert content["task"] == "classification"


def test_every_way_to_name_it(saved, tmp_path):
    """The folder, a file in it, the folder of the run."""
    shutil.copytree(saved, tmp_path / "model")
    for path in (tmp_path, tmp_path / "model", tmp_path / "model" / JSON,
                 str(tmp_path / "model" / WEIGHTS)):  # fmt: skip
        assert jnas.load_model(path).class_names == made_models.NAMES


def test_saving_again_replaces(copy):
    """The second model is there, whole, and nothing of the first."""
    models.save(copy, made_models.model(names=()))
    assert models.load(copy).class_names == ()
    assert [path.name for path in copy.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("stop", ["fsync", "rename"])
def test_a_save_that_fails_leaves_the_model_before(stop, copy, monkeypatch):
    """A disk that is full, at the first byte or at the last step."""

    def fail(*args):
        raise OSError(28, "No space left on device")

    target = os if stop == "fsync" else folder_lib
    monkeypatch.setattr(target, {"fsync": "fsync", "rename": "_put"}[stop], fail)
    with pytest.raises(OSError, match="No space left"):
        models.save(copy, made_models.model(names=()))
    monkeypatch.undo()
    assert models.load(copy).class_names == made_models.NAMES
    assert [path.name for path in copy.parent.iterdir()] == ["model"]


def test_what_a_killed_process_left_is_removed(copy):
    """Half a save of another process, beside the folder."""
    rest = copy.parent / ".model.123.tmp"
    rest.mkdir()
    (rest / WEIGHTS).write_bytes(b"half")
    models.save(copy, made_models.model())
    assert [path.name for path in copy.parent.iterdir()] == ["model"]


def test_no_folder_of_the_user_is_replaced(tmp_path):
    """One with other files, or a file of that name."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="got '.*model' with thesis.tex"):
        models.save(tmp_path / "model", made_models.model())
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="must be new, empty or hold model.json"):
        models.save(tmp_path / "file", made_models.model())
    assert (tmp_path / "model" / "thesis.tex").read_text() == "years of work"


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """By the name of the array."""
    model = made_models.model()
    params = jax.tree.map(np.array, model.params)
    params["stem"]["layers"][0]["kernel"][0, 0] = np.nan
    broken = models.Model(model.architecture, params, model.stats, model.preprocessing)
    with pytest.raises(ValueError, match="NaN or infinity in 'stem.conv.kernel'"):
        models.save(tmp_path / "model", broken)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 7, 1000, -1])
def test_truncated_weights_are_refused(size, copy):
    """With both numbers of bytes."""
    data = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(data[:size])
    got = len(data[:size])
    refused(copy, f"must have {len(data)} bytes, got {got} in '{copy / WEIGHTS}'")


@pytest.mark.parametrize("place", [0, 9, 2000, -1])
def test_a_flipped_bit_is_refused(place, copy):
    """Of the header or of a number."""
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[place] ^= 1
    (copy / WEIGHTS).write_bytes(bytes(data))
    refused(copy, "SHA-256", str(copy / WEIGHTS))


def test_weights_of_another_model_are_refused(copy, tmp_path):
    """Of the same network: only the SHA-256 tells them apart."""
    models.save(tmp_path / "other", made_models.model(1))
    shutil.copy(tmp_path / "other" / WEIGHTS, copy / WEIGHTS)
    refused(copy, "SHA-256", "damaged or of another model")


def test_nothing_is_unpickled(copy):
    """Neither as weights nor as the JSON file."""

    bomb = f"cposix\nmkdir\n(S'{copy / 'owned'}'\ntR.".encode()
    for name in (WEIGHTS, JSON):
        data = (copy / name).read_bytes()
        (copy / name).write_bytes(bomb)
        refused(copy, f"{name} must")
        (copy / name).write_bytes(data)
    assert not (copy / "owned").exists() and models.load(copy)


@pytest.mark.parametrize("name", [JSON, WEIGHTS])
def test_a_missing_file_is_refused(name, copy):
    """By its name, and a pipe in its place does not block."""
    (copy / name).unlink()
    refused(copy, f"{name} must", "no such file")
    os.mkfifo(copy / name)
    refused(copy, f"{name} must", "no such file")


def test_what_is_no_model_is_refused(tmp_path):
    """Nothing, a run without one, a search."""
    refused(tmp_path / "none", "which does not exist. Check the path.")
    refused(tmp_path, "which has no model.json")
    refused("a\0b", "which does not exist")
    (tmp_path / "run.json").write_text("{}")
    refused(tmp_path, "a run without model/", "leave one")


def test_arrays_of_other_names_shapes_types_and_values_are_refused(copy):
    """Even with the right SHA-256."""
    arrays = safetensors.load_file(copy / WEIGHTS)
    name, kernel = "classifier.kernel", arrays["classifier.kernel"]
    changes = {
        "without 'classifier.kernel'": {},
        "with 'extra'": {name: kernel, "extra": kernel},
        "float32 [16, 10], got float32 [10, 16]": {name: kernel.T.copy()},
        "float32 [16, 10], got float64 [16, 10]": {name: kernel.astype(np.float64)},
        "NaN or infinity in 'classifier.kernel'": {name: kernel * np.inf},
    }
    rest = {key: array for key, array in arrays.items() if key != name}
    for words, change in changes.items():
        rewrite(copy, rest | change)
        refused(copy, WEIGHTS, words)


def test_no_safetensors_is_refused(copy):
    """With the right SHA-256 too."""
    content = json.loads((copy / JSON).read_text())
    for data in (b"", b"\xff" * 64, b"\x08" + bytes(7) + b'{"a": 1}'):
        (copy / WEIGHTS).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        content["weights"] |= {"sha256": digest, "bytes": len(data)}
        (copy / JSON).write_text(json.dumps(content))
        refused(copy, "must be a safetensors file")


def test_other_json_is_refused(copy):
    """Lists, doubled keys, numbers that are none, deep nesting, newer versions."""
    whole = (copy / JSON).read_text()
    content = json.loads(whole)
    for text, words in {
        whole[:200]: "readable JSON object",
        "[]": "holds a list",
        whole.replace('"task"', '"version": 1, "task"'): "occurs twice",
        whole.replace("255.0", "1e999"): "not finite",
        whole.replace("255.0", "NaN"): "NaN is no JSON",
        "[" * 100_000: "readable JSON object",
        json.dumps(content | {"version": 3}): "up to 2, got 3",
        json.dumps(content | {"version": 0}): "from 1, got 0",
        json.dumps(content | {"version": True}): "got True",
        json.dumps(content | {"format": "jnas.genotype"}): "format 'jnas.model'",
        json.dumps(content | {"task": "segmentation"}): "task must be",
        json.dumps(content | {"more": 1}): "exactly the keys",
    }.items():
        (copy / JSON).write_text(text)
        refused(copy, words, str(copy / JSON))
    (copy / JSON).write_bytes(whole.encode("utf-16"))
    refused(copy, "readable JSON object")


def test_operations_and_kinds_that_are_not_registered(copy):
    """The message says how to load one's own."""
    whole = (copy / JSON).read_text()
    (copy / JSON).write_text(whole.replace("nor_conv_3x3", "wide_conv"))
    refused(copy, "operation must be one of", "got 'wide_conv'", "plug-in first")
    (copy / JSON).write_text(whole.replace('"kind": "cells"', '"kind": "resnet"'))
    refused(copy, "architecture must be one of", "'resnet'", "plug-in first")


def places(value, path=()):
    """Yields the path of every value of a JSON document."""
    yield path
    items = value if isinstance(value, dict | list) else ()
    for key, inner in items.items() if isinstance(items, dict) else enumerate(items):
        yield from places(inner, (*path, key))


@pytest.mark.slow
def test_every_value_of_the_json_file_may_be_wrong(copy):
    """Each replaced by others: refused in one line, or read, as free texts are."""
    content = json.loads((copy / JSON).read_text())
    content |= {"class_names": [], "versions": {}}
    whole, read = json.dumps(content), set()
    for path in places(content):
        for wrong in (None, "x", -1, 10**30, {}):
            changed = {"": json.loads(whole)}
            at, keys = changed, ("", *path)
            for key in keys[:-1]:
                at = at[key]
            at[keys[-1]] = wrong
            (copy / JSON).write_text(json.dumps(changed[""]))
            try:
                models.load(copy)
            except ValueError as error:
                assert "\n" not in str(error)
            else:
                read.add(path[:2])
    assert read <= {
        ("figures",), ("figures", "test_accuracy"), ("versions",),
        ("preprocessing", "mean"), ("preprocessing", "std"),
        ("preprocessing", "low"), ("preprocessing", "high"),
        ("preprocessing", "source"), ("architecture", "genotype"),
        ("architecture", "size"),  # image_size: this skeleton does not depend on it
    }  # fmt: skip


@pytest.mark.parametrize(
    "field,value,rule",
    [
        ("low", 10**400, "low must be a finite number"),
        ("std", [1e-300], "std must hold a finite number"),
        (
            "image_shape",
            [100_000, 100_000, 1],
            "image_shape must be up to three",
        ),
        ("shrink", 100_000, "shrink must be an integer"),
    ],
)
def test_preprocessing_beyond_any_picture_is_refused(field, value, rule):
    """Numbers that float32 does not hold, pictures that no memory holds."""
    known = dict(
        image_shape=(8, 8, 1),
        unit="uint8",
        mean=(0.5,),
        std=(0.3,),
        low=0.0,
        high=255.0,
    )
    given = known | {field: tuple(value) if isinstance(value, list) else value}
    models.Preprocessing(**known)
    with pytest.raises(ValueError, match=rule):
        models.Preprocessing(**given)
