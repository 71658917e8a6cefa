"""Makes a model of the weights of a DARTS network that was trained with PyTorch.

    python experiments/import_torch.py --weights=cifar10_model.safetensors \
        --genotype=DARTS_V2 --out=runs/imported/model

The file holds the state dict of the CIFAR network of github.com/quark0/darts or of one
that follows it (PC-DARTS, P-DARTS, DrNAS, ...), by safetensors.torch.save_file. Size,
number of classes and auxiliary head are read from the arrays; the latter is left out of
the model. --mean and --std are those that its training normalised by, of pixels in
0..1; the defaults are CIFAR-10's, as in that code. The model classifies raw pixels of 0
to 255: see models.load, and export.py.
"""

import json
import pathlib

from absl import flags

from jnas import models, run
from jnas.export import torch
from jnas.models import folder, storage
from jnas.run import launch_help
from jnas.studies import cells

MEAN = "0.49139968,0.48215827,0.44653124"  # of CIFAR-10
STD = "0.24703233,0.24348505,0.26158768"
FLAGS = flags.FLAGS
flags.DEFINE_string("weights", None, "File of the state dict, .safetensors.")
flags.DEFINE_string("genotype", None, "Genotype that the network was trained with.")
flags.DEFINE_string("out", None, "Folder to which the model is written.")
flags.DEFINE_list("mean", MEAN, "Mean of each channel, of pixels in 0..1.")
flags.DEFINE_list("std", STD, "Standard deviation of each channel, likewise.")
flags.DEFINE_integer("image_size", 32, "Rows and columns of an image.", lower_bound=1)
flags.DEFINE_list("class_names", [], "Name of each class, comma-separated, in order.")
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")
flags.mark_flags_as_required(["weights", "genotype", "out"])
for _name in ("weights", "genotype", "out", "mean", "std", "image_size", "class_names"):
    launch_help.describe(_name, "import")


def main():
    """Reads the arrays and saves the model."""
    genotype = cells.find(FLAGS.genotype, space="darts", seed=0)
    folder.check_target(FLAGS.out, storage.NAME)
    weights = torch.from_torch(torch.read(FLAGS.weights), genotype)
    size = weights.size
    trees = (
        {key: value for key, value in tree.items() if key != "auxiliary"}
        for tree in (weights.params, weights.stats)
    )
    how = models.Preprocessing(
        image_shape=(FLAGS.image_size, FLAGS.image_size, size.channels),
        unit="uint8",
        mean=numbers("mean"),
        std=numbers("std"),
        low=0.0,
        high=255.0,
    )
    model = models.Model(
        models.of_genotype(genotype, size), *trees, how, tuple(FLAGS.class_names)
    )
    models.save(FLAGS.out, model)
    print(pathlib.Path(FLAGS.out).resolve())
    head = "auxiliary" in weights.params
    fields = {"features": size.features, "layers": size.num_layers}
    fields |= {"num_classes": size.num_classes, "auxiliary_head_left_out": head}
    print(json.dumps(fields))


def numbers(name):
    """Returns the numbers of a flag."""
    try:
        return tuple(map(float, FLAGS[name].value))
    except ValueError as error:
        raise ValueError(
            f"{name} must be numbers separated by commas, got "
            f"{','.join(FLAGS[name].value)!r}. Write --{name}=0.5,0.5,0.5."
        ) from error


if __name__ == "__main__":
    run.launch(main)
