"""Tests of jnas.zoo: the published cells are whole, and where they can live they do."""

import pytest

from jnas import registry, spaces
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text, published

FIVE_NODES = ("NASNet", "AmoebaNet", "ENASNet")


@pytest.mark.parametrize("name", published.cells())
def test_published_cells_survive_the_encoding(name):
    """A DARTS cell comes back from its encoding; one of five nodes is refused."""
    genotype = published.genotype(name)
    space = spaces.zoo.darts()
    if name in FIVE_NODES:
        assert genotype.space == "nasnet"
        concat = genotype.cell("normal").concat
        with pytest.raises(genotypes.GenotypeError) as caught:
            space.encode(genotype)
        assert str(caught.value) == (
            f"normal cell must concatenate (2, 3, 4, 5), got {concat}. "
            "Use a space that contains this genotype."
        )
    else:
        assert genotype.space == "darts"
        again = space.genotype(space.encode(genotype))
        assert again.canonical() == genotype.canonical()


@pytest.mark.parametrize("name", published.cells())
def test_published_cells_have_the_darts_string(name):
    """All have two inputs a node, so the string of the DARTS repository holds them."""
    genotype = published.genotype(name)
    nodes = 5 if name in FIVE_NODES else 4
    assert (genotype.num_inputs, genotype.num_nodes) == (2, nodes)
    text = genotype_text.to_darts(genotype)
    operations = [op for _, cell in genotype.cells for _, _, op in cell.edges]
    again = genotype_text.from_darts(text, space=genotype.space, operations=operations)
    assert again == genotype


def test_darts_v2_is_the_papers():
    """The one cell checked letter by letter, as its repository prints it."""
    assert genotype_text.to_darts(published.genotype("DARTS_V2")) == (
        "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
        "('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), "
        "('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
        "normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), "
        "('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
        "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
        "reduce_concat=range(2, 6))"
    )


def test_published_figures():
    """The five counts that are known, and a source for each."""
    assert len(published.cells()) == 12
    counts = {
        name: published.published(name).get("parameters") for name in published.cells()
    }
    assert {name: count for name, count in counts.items() if count} == {
        "DARTS_V1": 3_169_414,
        "DARTS_V2": 3_349_342,
        "PC_DARTS_cifar": 3_634_678,
        "PDARTS": 3_433_798,
        "GDAS_V1": 3_368_782,
    }
    assert published.published("DARTS_V2") == {
        "source": "quark0/darts@f276dd346a:cnn/genotypes.py",
        "parameters": 3_349_342,
        "auxiliary": 476_426,
        "macs": 528_359_040,
    }
    assert all("@" in published.published(name)["source"] for name in published.cells())


def test_published_does_not_hand_out_its_own_table():
    """Changing the answer does not change the next one."""
    published.published("DARTS_V2")["parameters"] = 0
    assert published.published("DARTS_V2")["parameters"] > 0


@pytest.mark.parametrize("look_up", [published.genotype, published.published])
def test_unknown_name(look_up):
    """A name that misses lists what exists and guesses the nearest."""
    with pytest.raises(registry.UnknownName) as caught:
        look_up("DARTS_V3")
    assert str(caught.value).startswith("published genotype must be one of NASNet, ")
    assert str(caught.value).endswith("got 'DARTS_V3'. Did you mean 'DARTS_V2'?")
    with pytest.raises(KeyError, match="candidate lists must be one of s1, s2, s3, s4"):
        published.candidates("s5")


def test_published_cells_do_not_depend_on_what_is_registered(monkeypatch):
    """They are read though the registry knows one operation of a user's only."""
    monkeypatch.setattr(registry, "OPERATIONS", registry.Registry("operation"))
    registry.OPERATIONS.register(lambda: 0, name="mine")
    assert published.genotype("AmoebaNet").cell("reduce").edges[-2][2] == "conv_7x1_1x7"
