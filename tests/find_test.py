"""What --genotype takes: names, files of any form, and the text itself."""

import json

import pytest

from jnas import registry, spaces
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text, published
from jnas.studies import cells

V2, TINY = published.genotype("DARTS_V2"), spaces.zoo.tiny().genotype([0] * 10)
PRINTED = genotype_text.to_darts(V2)
STRING = "|none~0|+|nor_conv_3x3~0|none~1|+|nor_conv_3x3~0|none~1|nor_conv_1x1~2|"
CASE = {
    "format": "jnas.genotype",
    "version": 1,
    "space": "nasbench201",
    "cells": {
        "cell": {
            "edges": [
                [0, 2, "nor_conv_3x3"],
                [0, 3, "nor_conv_3x3"],
                [2, 3, "nor_conv_1x1"],
            ],
            "concat": [3],
        }
    },
}


def find(text, space="darts"):
    """Finds a genotype."""
    return cells.find(str(text), space=space, seed=0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files, in which the tests run."""
    monkeypatch.chdir(tmp_path)
    texts = {
        "case.json": json.dumps(CASE),
        "printed.txt": f"{PRINTED}\n",
        "two.py": f"A = {PRINTED}\n\nB = {PRINTED.replace('sep_conv', 'dil_conv')}\n",
        "DARTS_V1": "taken from the published",
        "a:b.txt": STRING,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


GIVEN = {
    "DARTS_V2": V2,
    "DARTS_V1": published.genotype("DARTS_V1"),
    PRINTED: V2,
    f" x = {PRINTED}\n": V2,
    "printed.txt": V2,
    "two.py:A": V2,
    STRING: genotype_text.from_nasbench201(STRING),
    f"  {STRING}\n": genotype_text.from_nasbench201(STRING),
    "a:b.txt": genotype_text.from_nasbench201(STRING),
    genotype_text.short_form(TINY): TINY,
    "\ufeff" + genotype_text.short_form(TINY): TINY,
    json.dumps(CASE, indent=1): genotype_text.from_json(json.dumps(CASE)),
    "case.json": genotype_text.from_json(json.dumps(CASE)),
}


@pytest.mark.parametrize("text", GIVEN)
def test_each_form(text, folder):
    """Names and files first, then the text itself."""
    assert find(text) == GIVEN[text]


@pytest.mark.parametrize("name", list(registry.SPACES))
def test_random_cells_in_short_form(name):
    """What a search prints is taken again, whatever the space of the flag."""
    genotype = find("random", space=name)
    assert genotype.space == name
    assert find(genotype_text.short_form(genotype)) == genotype


def test_a_printed_cell_is_of_the_flags_space():
    """It names none; the number of nodes must be that of the space."""
    assert find(PRINTED, space="s1").space == "s1"
    small = genotype_text.to_darts(TINY)
    assert find(small, space="tiny") == TINY
    with pytest.raises(genotypes.GenotypeError, match="got normal, reduce. Correct"):
        find(PRINTED, space="nasbench201")
    with pytest.raises(genotypes.GenotypeError, match="lead to a node from 2 to 3,"):
        find(PRINTED, space="tiny")


BAD = {
    "DARTS_V3": "Did you mean 'DARTS_V2'?",
    "two.py": "got 2 in 'two.py' (A, B). Name one, two.py:A.",
    "two.py:C": "got 0 in 'two.py' (A, B). Name one, two.py:A.",
    "none.py:A": "genotype must be an existing file",
    PRINTED.replace("range(2, 6)", "range(2, 8)"): "must hold nodes from 2 to 5",
    PRINTED.replace("range(2, 6)", "[2, 3, 4, 6]"): "must hold nodes from 2 to 5",
    PRINTED.replace("[('", "['"): "text must have the form Genotype(normal=",
    json.dumps(CASE | {"space": "foo"}): "that registers it with --plugins.",
    json.dumps(CASE)[:-1]: "genotype must be JSON, got Expecting",
    "": "genotype must be an existing file, a NAS-Bench-201 string",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused(text, folder):
    """One line with what to do."""
    with pytest.raises(ValueError) as caught:
        find(text)
    assert BAD[text] in str(caught.value) and "\n" not in str(caught.value)


def test_the_advice_works(folder):
    """The name that the message says is read."""
    with pytest.raises(ValueError) as caught:
        find("two.py")
    name = str(caught.value).rpartition(", ")[2].removesuffix(".")
    assert find(name) == V2


def test_plugins_register_the_space(tmp_path, monkeypatch):
    """With the file that registers it, the same text is one input's."""
    text = json.dumps(CASE | {"space": "mine"})
    with pytest.raises(ValueError, match="--plugins"):
        find(text)
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from jnas import registry, spaces\n\n"
        "@registry.SPACES.register\ndef mine():\n"
        "    names = ('none', 'nor_conv_3x3', 'nor_conv_1x1')\n"
        "    return spaces.CellSpace('mine', ('cell',), 1, 3, names, None, (3,))\n"
    )
    monkeypatch.setattr(registry.SPACES, "_entries", dict(registry.SPACES))
    registry.load_plugins([str(plugin)])
    assert (find(text).num_inputs, find(text).num_nodes) == (1, 3)
