"""Tests of the names of a network's arrays: readable, and one to one."""

import jax
import made_models
import numpy as np
import pytest

from jnas import models, networks, registry, spaces
from jnas.models import architecture as architecture_lib
from jnas.models import names as names_lib
from jnas.spaces import genotype as genotypes
from jnas.spaces import published

OTHERS = (
    "|nor_conv_1x1~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|"
    "nor_conv_1x1~2|",
    "|none~0|+|avg_pool_3x3~0|none~1|+|nor_conv_3x3~0|nor_conv_3x3~1|none~2|",
)


def arrays(like):
    """Arrays of the shapes of a tree, no two values alike."""
    leaves, treedef = jax.tree.flatten(like)
    begins = np.cumsum([0, *(leaf.size for leaf in leaves)])
    made = [
        np.arange(begin, begin + leaf.size, dtype=np.float64).reshape(leaf.shape)
        for begin, leaf in zip(begins, leaves, strict=False)
    ]
    return jax.tree.unflatten(treedef, made)


def check_one_to_one(trees, names):
    """Every value is in exactly one array, and the tree comes back."""
    found = {}
    for like in trees:
        tree = arrays(like)
        flat = names_lib.flatten(tree, names)
        assert {n: a.shape for n, a in flat.items()} == {
            n: one.shape for n, one in names_lib.shapes(like, names).items()
        }
        every = np.concatenate([a.ravel() for a in flat.values()])
        assert np.array_equal(np.sort(every), np.arange(networks.count_params(like)))
        back = names_lib.unflatten(flat, like, names)
        jax.tree.map(np.testing.assert_array_equal, tree, back)
        assert not found.keys() & flat.keys()  # parameters and statistics are one file
        found |= flat
    return found


def check_genotype(genotype, size):
    """Names of a genotype's network, from its description too."""
    made = models.of_genotype(genotype, size)
    again = architecture_lib.read(made.description)
    assert again.description == made.description
    like = jax.eval_shape(made.network.init, jax.random.key(0))
    return like, check_one_to_one(like, again.names)


def test_names_of_nasbench201():
    """Stages, residual layers and the classifier's norm, counted by hand."""
    _, found = check_genotype(made_models.genotype(), networks.Size(2, 2, 3, 1))
    stats = {name for name in found if name.endswith((".mean", ".var"))}
    kernels = {name for name in found if name.endswith(".kernel")}
    cells = [0, 1, 3, 4, 6, 7]  # two a stage; 2 and 5 are residual layers
    conv = "nor_conv_3x3.layers_1.kernel", "nor_conv_1x1.layers_1.kernel"
    assert kernels == {
        "stem.conv.kernel",
        "classifier.kernel",
        *(f"cell_{n:02d}.edge_1_from_0.{conv[0]}" for n in cells),
        *(f"cell_{n:02d}.edge_3_from_0.{conv[1]}" for n in cells),
        *(f"residual_{n:02d}.conv_{i}.conv.kernel" for n in (2, 5) for i in (0, 1)),
        *(f"residual_{n:02d}.shortcut.kernel" for n in (2, 5)),
    }
    norms = {name.rpartition(".")[0] for name in stats}
    assert {"stem.norm", "classifier.norm", "residual_05.conv_1.norm"} < norms
    assert len(norms) == 1 + 1 + 2 * len(cells) + 2 * 2 and len(stats) == 2 * len(norms)


def test_a_stacked_array_is_in_the_order_of_its_cells():
    """Rows of a scan's arrays are the cells of its stage."""
    genotype = made_models.genotype()
    like, _ = check_genotype(genotype, networks.Size(2, 2, 3, 1))
    tree = arrays(like[0])
    names = names_lib.of_network(genotype, networks.Size(2, 2, 3, 1))
    flat = names_lib.flatten(tree, names)
    stacked = tree["layers_06"]["nodes"]["0"]["layers"][1]["kernel"]
    for row, cell in enumerate(("cell_06", "cell_07")):
        name = f"{cell}.edge_1_from_0.nor_conv_3x3.layers_1.kernel"
        assert np.array_equal(flat[name], stacked[row])


def test_names_of_two_input_cells():
    """Preprocessing is named by the cell that it belongs to, edges by their states."""
    space = spaces.zoo.tiny()
    genotype = space.genotype(np.array(space.sizes) - 1)
    like, found = check_genotype(genotype, networks.Size(2, 12, 3, 1))
    # 12 layers: reductions are cells 4 and 8, after which input 0 is twice as large
    halved = {name[:7] for name in found if ".preprocess_0.even." in name}
    assert halved == {"cell_05", "cell_09"}
    assert {name.split(".")[0] for name in found} == {
        "stem", "classifier", *(f"cell_{i:02d}" for i in range(12)),
    }  # fmt: skip
    block = arrays(like[0])["layers_02"]  # cells 2 and 3, which are equal
    own = block["cell_01"]["preprocess0"]["layers"][1]["kernel"]
    assert np.array_equal(found["cell_03.preprocess_0.conv.kernel"], own)
    source, to, operation = genotype.cells[0][1].edges[0]
    assert operation == "sep_conv_3x3"
    rows = block["nodes"]["0"]["layers"][1]["kernel"]
    for row, cell in enumerate(("cell_02", "cell_03")):
        name = f"{cell}.edge_{to}_from_{source}.sep_conv_3x3.layers_1.kernel"
        assert np.array_equal(found[name], rows[row])


def test_equal_edges_have_names_of_their_own():
    """An edge that is in a cell twice is two operations."""
    edges = ((0, 1, "nor_conv_1x1"),) * 2 + ((1, 2, "nor_conv_1x1"),)
    cell = genotypes.Cell(edges=edges, concat=(2,))
    genotype = genotypes.Genotype("nobodys", (("cell", cell),))
    _, found = check_genotype(genotype, networks.Size(2, 1, 3, 1))
    first = {name.split(".")[1] for name in found if name.startswith("cell_00")}
    assert first == {"edge_1_from_0", "edge_1_from_0_again_1", "edge_2_from_1"}


@pytest.mark.parametrize("method", ["darts", "pcdarts", "darts_minus"])
def test_names_of_supernets(method):
    """Edges are unstacked too; an auxiliary skip has a name of its own."""
    space = spaces.zoo.tiny()
    method = registry.METHODS[method]()
    variant = networks.EdgeVariant(
        partial=method.partial, auxiliary_skip=method.auxiliary_skip
    )
    net = networks.supernet(space, networks.Size(8, 3, 3, 1), variant=variant)
    like = jax.eval_shape(net.init, jax.random.key(0))
    found = check_one_to_one([like], names_lib.of_supernet(net))
    kernel = "sep_conv_3x3.layers_1.kernel"
    convs = {name for name in found if name.endswith(kernel)}
    assert convs == {
        f"cell_{cell:02d}.edge_{to}_from_{source}.{kernel}"
        for cell in range(3)
        for source, to in space.edges
    }
    assert method.auxiliary_skip == any(".auxiliary_skip." in name for name in found)


def test_a_supernet_and_its_cell_agree_on_names():
    """What a derived network inherits has the same name in both."""
    space = spaces.zoo.nasbench201()
    size, genotype = networks.Size(2, 2, 3, 1), made_models.genotype()
    net = networks.supernet(space, size)
    like = jax.eval_shape(net.init, jax.random.key(0))
    params = arrays(like)
    own = networks.inherit(net, params, genotype, size)
    found = names_lib.flatten(own, names_lib.of_network(genotype, size))
    every = names_lib.flatten(params, names_lib.of_supernet(net))
    assert found.keys() < every.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, every[name], name)


@pytest.mark.slow
def test_all_published_cells():
    """Twelve genotypes, two with stacked cells, and two NAS-Bench-201 networks."""
    assert len(published.cells()) == 12
    for number, name in enumerate(published.cells()):
        layers = 10 if number < 2 else 4  # equal cells follow each other in 10 alone
        check_genotype(published.genotype(name), networks.Size(4, layers, 10, 3))
    for text in OTHERS:
        check_genotype(made_models.genotype(text), networks.Size(2, 3, 10, 3))
