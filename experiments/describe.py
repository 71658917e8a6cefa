"""Draws a genotype and counts its network's parameters, or lists the methods.

    python experiments/describe.py --genotype=DARTS_V2 --features=36 --layers=20
    python experiments/describe.py --methods

Prints the drawing's path and, as its last line, one JSON object: parameters (without
the auxiliary head: 3349342), auxiliary_parameters (476426), macs (528359040).
"""

import json
import pathlib

from absl import flags

from jnas import networks, report, run
from jnas.run import files
from jnas.spaces import drawing
from jnas.studies import cells, methods_table

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "genotype", None, "Genotype: file, published name, or the text of one."
)
flags.DEFINE_boolean(
    "methods", False, "Print the table of methods and their pieces instead."
)
flags.DEFINE_string(
    "space", "darts", "Space of a genotype that names none: Genotype(...), or random."
)
flags.DEFINE_integer("features", 36, "Features of the first cells.")
flags.DEFINE_integer("layers", 20, "Number of cells; for one input, of a stage.")
flags.DEFINE_integer("num_classes", 10, "Number of classes.")
flags.DEFINE_integer("image_size", 32, "Rows and columns of an image.", lower_bound=1)
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
        print(report.markdown(methods_table.methods_table()))
        return
    files.check_output("drawing", FLAGS.drawing)
    cell = cells.find(FLAGS.genotype, space=FLAGS.space, seed=0)
    if FLAGS["space"].present and FLAGS.space != cell.space:
        raise ValueError(
            f"space must be that of the genotype, got {FLAGS.space!r} for one of "
            f"{cell.space!r}. Leave --space out."
        )
    shape = networks.Size(
        FLAGS.features, FLAGS.layers, FLAGS.num_classes, FLAGS.channels
    )
    network = networks.derived(cell, shape, auxiliary=cell.num_inputs == 2)
    size = FLAGS.image_size, FLAGS.image_size, FLAGS.channels
    counts = networks.measure(network, size)
    path = pathlib.Path(FLAGS.drawing)
    path.write_text(drawing.draw(cell))
    print(path.resolve())
    print(json.dumps(counts))


if __name__ == "__main__":
    run.launch(main)
