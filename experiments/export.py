"""Exports a trained network as a file of another program.

    python experiments/export.py --model=runs/first/model --format=onnx \
        --out=model.onnx
    python experiments/export.py --model=runs/first/model --format=tflite --int8 \
        --data=digits --out=model.tflite

The program takes raw pixels, f32[batch, H, W, C] in the data set's own unit (0 to 255
where it is uint8), normalises them itself and returns logits. stablehlo and onnx take
any number of images, tflite --batch_size. safetensors holds the weights alone, under
the names of DARTS' PyTorch network. The logits are compared with those of jnas on
random images, in the format's own runtime: a difference above 1e-5 (of the largest
logit where it exceeds 1) deletes the file. The last line is one JSON object.
"""

import json
import pathlib

import numpy as np
from absl import flags

from jnas import models, run
from jnas.export import formats
from jnas.run import files, launch_help
from jnas.studies import evaluate, setup

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "Model folder, or a run folder that holds one.")
flags.DEFINE_enum("format", None, list(formats.FORMATS), "Format of the file.")
flags.DEFINE_string("out", None, "File to which the program is written.")
flags.DEFINE_integer(
    "batch_size", 1, "Images of one call of a tflite program.", lower_bound=1
)
flags.DEFINE_boolean(
    "int8", False, "Weights and activations of a tflite program in int8; needs --data."
)
flags.DEFINE_string(
    "data", None, "Data set whose training images set the ranges of --int8."
)
flags.DEFINE_integer(
    "calibration", 128, "Number of those training images.", lower_bound=1
)
flags.DEFINE_list("plugins", [], "Python files that register your own pieces.")
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")
flags.mark_flags_as_required(["model", "format", "out"])
for _name in ("model", "format", "out", "batch_size", "int8", "data", "calibration"):
    launch_help.describe(_name, "export")


def main():
    """Reads the model, writes the file, checks it and prints what was measured."""
    check()
    model = models.load(FLAGS.model)
    name = FLAGS.format
    images = calibration(model) if FLAGS.int8 else None
    found = formats.export(
        model, name, FLAGS.out, batch_size=FLAGS.batch_size, calibration=images
    )
    print(pathlib.Path(FLAGS.out).resolve())
    dtype = model.architecture.description.get("dtype", "float32")
    if dtype != "float32":
        far = (
            ""
            if found.rounding is None
            else (f"; logits differ by up to {found.rounding:.1e} from the model's own")
        )
        print(f"Activations are float32, not {dtype} as in training{far}.")
    if found.unchecked:
        print(f"Written, but not checked: {found.unchecked}")
    else:
        what = "Logits" if model.classifies else "Outputs"
        print(
            f"{found.bytes:,} bytes. {what} differ by at most {found.difference:.1e} "
            f"(largest: {found.largest_logit:.2g}). One image takes {found.ms:.2f} ms "
            f"in {formats.FORMATS[name].runtime}, {found.jnas_ms:.2f} ms in jnas."
        )
    if FLAGS.int8 and not found.unchecked:
        said = f"differs by up to {found.difference:.2g} on"
        if model.classifies:
            said = f"gives the class that jnas gives to {found.same_class:.1%} of"
        print(f"The int8 program {said} {len(images)} training images.")
    print(json.dumps(found._asdict() | {"runtime": formats.FORMATS[name].runtime}))


def check():
    """Refuses flags that do not fit, before anything is read."""
    files.check_output("out", FLAGS.out)
    for name in ("int8", "batch_size"):
        if FLAGS[name].present and FLAGS.format != "tflite":
            raise ValueError(
                f"format must be tflite for --{name}, got {FLAGS.format!r}. Leave "
                f"--{name} out."
            )
    if FLAGS.int8 != bool(FLAGS.data):
        given = "--int8 alone" if FLAGS.int8 else "--data alone"
        raise ValueError(
            f"data must be given with --int8, and with it only, got {given}. Add "
            "--int8 --data=<data set>, or neither."
        )
    if FLAGS.calibration < FLAGS.batch_size:
        raise ValueError(
            f"calibration must be at least batch_size, got {FLAGS.calibration} for "
            f"{FLAGS.batch_size}. Raise --calibration."
        )


def calibration(model):
    """Returns the first training images of --data, as the program takes them."""
    shrink = model.preprocessing.shrink
    how = {"task": model.learned.name, "inputs": evaluate.inputs_of(model)}
    dataset = setup.dataset(setup.DataSettings(data=FLAGS.data, shrink=shrink, **how))
    images = model.preprocessing.check(dataset.x_train[: FLAGS.calibration])
    return np.asarray(images, np.float32)


if __name__ == "__main__":
    run.launch(main)
