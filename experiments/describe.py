"""Draws a genotype and counts its network's parameters, or lists the methods.

    python experiments/describe.py --genotype=DARTS_V2
    python experiments/describe.py --genotype=DARTS_V2 --image_size=224
    python experiments/describe.py --methods

Prints the network, the drawing's path and, as its last line, one JSON object:
parameters (without the auxiliary head: 3349342; at 224 pixels 4718752),
auxiliary_parameters (476426; 1260776), macs of convolutions and linear layers
(528359040; 529911552), and macs_with_norms, which adds two for each value of a norm and
one for each of a ReLU (546883200; 543985920), as many published figures do.
"""

import json
import pathlib

from absl import flags

from jnas import networks, run
from jnas.networks import stems
from jnas.run import files
from jnas.spaces import drawing
from jnas.studies import cells, methods_table, recipe_rows, setup, train_scratch

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "genotype", None, "Genotype: file, published name, or the text of one."
)
flags.DEFINE_boolean(
    "methods", False, "Print the tables of methods, their pieces and numbers, instead."
)
flags.DEFINE_string(
    "space", "darts", "Space of a genotype that names none: Genotype(...), or random."
)
flags.DEFINE_integer(
    "features",
    None,
    "Features of the first cells; without it those of the recipe: 36, 16 for cells of "
    "one input, 48 for large images.",
)
flags.DEFINE_integer(
    "layers",
    None,
    "Number of cells; for one input, of a stage; without it that of the recipe: 20, 5 "
    "for cells of one input, 14 for large images.",
)
flags.DEFINE_integer(
    "num_classes",
    None,
    "Number of classes; without it 10, or 1000 with the ImageNet stem.",
)
flags.DEFINE_integer("image_size", 32, "Rows and columns of an image.", lower_bound=1)
flags.DEFINE_string("stem", stems.AUTO, setup.stem_option().metadata["help"])
flags.DEFINE_integer("channels", 3, "Channels of an image.")
flags.DEFINE_string("drawing", "cell.svg", "File to which the drawing is written.")
flags.DEFINE_list("plugins", [], "Python files that register your own pieces.")
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")


def main():
    """Draws and counts, or lists."""
    if FLAGS.methods == bool(FLAGS.genotype):
        raise ValueError(
            "genotype must be given unless --methods is, got "
            f"{'both' if FLAGS.methods else 'neither'}. Add --genotype=DARTS_V2."
        )
    if FLAGS.methods:
        print(methods_table.page(), end="")
        return
    files.check_output("drawing", FLAGS.drawing)
    cell = cells.find(FLAGS.genotype, space=FLAGS.space, seed=0)
    if FLAGS["space"].present and FLAGS.space != cell.space:
        raise ValueError(
            f"space must be that of the genotype, got {FLAGS.space!r} for one of "
            f"{cell.space!r}. Leave --space out."
        )
    image_shape = FLAGS.image_size, FLAGS.image_size, FLAGS.channels
    size = size_of(cell, image_shape)
    auxiliary = networks.has_auxiliary(cell)
    network = networks.derived(cell, size, auxiliary=auxiliary)
    counts = networks.measure(network, image_shape, norms=True)
    print(
        f"network: {size.features} features, {size.num_layers} layers, "
        f"{size.num_classes} classes, {size.stem} stem, images of "
        f"{FLAGS.image_size}x{FLAGS.image_size}x{FLAGS.channels}"
    )
    path = pathlib.Path(FLAGS.drawing)
    path.write_text(drawing.draw(cell))
    print(path.resolve())
    print(json.dumps(counts))


def size_of(cell, image_shape):
    """Returns the size that the flags name, or else the recipe of cell and images."""
    row = recipe_rows.defaults(cell, image_shape)
    stem = stems.named(FLAGS.stem, image_shape)

    def own(name):
        given = getattr(FLAGS, name)
        if given is not None:
            return given
        return row.get(name, getattr(train_scratch.RetrainSettings, name))

    num_classes = FLAGS.num_classes
    if num_classes is None:
        num_classes = 1000 if stem == "imagenet" else 10
    return networks.Size(
        own("features"), own("layers"), num_classes, FLAGS.channels, stem
    )


if __name__ == "__main__":
    run.launch(main)
