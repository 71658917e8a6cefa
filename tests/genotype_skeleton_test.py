"""A genotype's file names the skeleton of its cells where its space may be unknown."""

import dataclasses
import json

import forks
import jax
import made_models
import numpy as np
import pytest

import jnas
from jnas import models, networks, registry, spaces
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text

COMPACT = spaces.zoo.compact()
CELL = COMPACT.genotype(np.array([2, 1, 3, 1, 2, 2]))
MINE = dataclasses.replace(COMPACT, name="mine")  # nobody registers it
PLAIN = dataclasses.replace(COMPACT, name="plain", skeleton="papers")
DIGITS = made_models.digits()


def size(features=2):
    """Of a network for digits of 4x4 pixels."""
    shape = DIGITS.image_shape
    return networks.Size(features, 1, 10, shape[2], image_size=shape[:2])


def parameters(genotype):
    """Counts the network of a genotype."""
    built = networks.derived(genotype, size())
    return networks.measure(built, DIGITS.image_shape)["parameters"]


MOBILE, PAPERS = (
    parameters(one.genotype(one.encode(CELL))) for one in (COMPACT, PLAIN)
)


def of_mine(**changes):
    """The text of a genotype of mine, with other top-level keys."""
    document = json.loads(genotype_text.to_json(MINE.genotype(MINE.encode(CELL))))
    document |= changes
    return json.dumps({k: v for k, v in document.items() if v is not None})


def test_the_skeleton_is_written_where_it_is_not_the_papers():
    """And read; a file of the papers' has the keys that it always had."""
    assert json.loads(of_mine())["skeleton"] == "mobile"
    plain = json.loads(genotype_text.to_json(PLAIN.genotype(PLAIN.encode(CELL))))
    assert list(plain) == ["format", "version", "space", "cells"]
    for name in ("DARTS_V2", "NASNet"):
        text = genotype_text.to_json(spaces.published.genotype(name))
        assert "skeleton" not in text
    for text in (of_mine(), genotype_text.to_json(CELL)):
        read = genotype_text.from_json(text)
        assert read.skeleton == read.canonical().skeleton == "mobile"
        assert genotype_text.to_json(read) == genotype_text.to_json(
            genotype_text.from_json(genotype_text.to_json(read))
        )
        short = genotype_text.short_form(read)
        assert "\n" not in short and genotype_text.parse(short).skeleton == "mobile"


def test_the_network_of_an_unknown_space_is_that_of_its_file():
    """Counted as the space's own; without the key it is the papers', as before."""
    assert MOBILE != PAPERS
    assert parameters(genotype_text.from_json(of_mine())) == MOBILE
    assert parameters(genotype_text.from_json(of_mine(skeleton=None))) == PAPERS
    assert parameters(genotype_text.from_json(of_mine(skeleton="papers"))) == PAPERS
    # a file of a registered space that an earlier release wrote
    old = of_mine(skeleton=None, space="compact")
    assert parameters(genotype_text.from_json(old)) == MOBILE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"skeleton": "mobil"}, "got 'mobil'. Did you mean 'mobile'? --plugins names"),
        ({"skeleton": 3}, "skeleton must be 1 to 100 printable characters, got 3"),
        ({"skeleton": ""}, "skeleton must be 1 to 100 printable characters, got ''"),
        (
            {"space": "compact", "skeleton": "papers"},
            "skeleton must be 'mobile', that of space 'compact', got 'papers'",
        ),
        ({"skeletton": "mobile"}, "have exactly the keys format, version, space,"),
    ],
    ids=["unknown", "number", "empty", "another", "misspelt"],
)
def test_wrong_skeletons_are_refused(changes, words):
    """In one line."""
    with pytest.raises(genotypes.GenotypeError) as caught:
        genotype_text.from_json(of_mine(**changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_registered_skeleton_is_known(monkeypatch):
    """One of the user's own is refused until it is registered."""
    text = of_mine(skeleton="theirs")
    with pytest.raises(genotypes.GenotypeError, match="be one of papers, mobile"):
        genotype_text.from_json(text)
    mobile = registry.SKELETONS["mobile"]
    with monkeypatch.context() as patch:
        patch.setitem(registry.SKELETONS._entries, "theirs", mobile)
        assert parameters(genotype_text.from_json(text)) == MOBILE


def test_a_space_of_a_registered_name_with_another_skeleton_is_refused():
    """Its genotypes were built in the registered one's skeleton without a word."""
    other = dataclasses.replace(COMPACT, skeleton="papers")
    with pytest.raises(genotypes.GenotypeError, match="got 'papers'. Rename the sp"):
        other.genotype(other.encode(CELL))


def test_a_model_of_an_unknown_space_loads(tmp_path):
    """With the same logits; its description names the skeleton."""
    built = models.of_genotype(MINE.genotype(MINE.encode(CELL)), size())
    params, stats = jax.jit(built.network.init)(jax.random.key(0))
    about = models.of_dataset(DIGITS, shrink=2)
    made = models.Model(built, params, stats, about, made_models.NAMES, {})
    models.save(tmp_path / "model", made)
    written = json.loads((tmp_path / "model" / "model.json").read_text())
    assert written["architecture"]["genotype"]["skeleton"] == "mobile"
    images = DIGITS.x_test[:5]
    loaded = jnas.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.logits(images), made.logits(images))


@pytest.mark.slow
def test_a_file_of_an_unknown_space_is_trained_in_its_skeleton(tmp_path):
    """By retrain; without the key one line says which skeleton it is put into."""
    found = {}
    for name in ("mobile", None):
        file = tmp_path / "genotype.json"
        file.write_text(of_mine(skeleton=name))
        folder = tmp_path / str(name)
        done = forks.launch(
            "retrain", f"--workdir={folder}", f"--genotype={file}", "--data=digits",
            "--shrink=2", "--features=2", "--layers=1", "--epochs=1",
            "--augment=none", limit=300,
        )  # fmt: skip
        assert done.status == 0, done.err
        result = json.loads((folder / "result.json").read_text())
        found[name] = result["parameters"]
        assert ("not registered" in done.err) == (name is None)
        assert jnas.load_model(folder).figures["test_accuracy"] >= 0
    assert found == {"mobile": MOBILE, None: PAPERS}
