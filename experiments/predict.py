"""Answers for new images by a trained model: a table of probabilities, or of numbers.

    python experiments/predict.py --model=runs/retrain --images=photos/
    python experiments/predict.py --model=runs/first --images='*.png' --out=new.csv

The model is a run of retrain or quickstart, its folder model, or a file in it. Images
are a folder (with sub-folders, but without classes), files, or an npz file with an
array x, images or x_test in the model's own unit (0 to 255 where it was trained on
uint8). Pictures are read and resized as the model's own were. The table has the columns
image, class, probability, and one for each class; of another task than classification
image, and one for each number of an answer, such as value. Series and vectors are read
from an npz file alone.
"""

import pathlib

from absl import flags

from jnas import models, run
from jnas.run import files
from jnas.studies import predict

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "model", None, "Run folder of retrain or quickstart, or folder of a model."
)
flags.DEFINE_string(
    "images",
    None,
    "Images: a folder, files (comma-separated, or a glob in quotes), or an npz file.",
)
flags.mark_flags_as_required(["model", "images"])
flags.DEFINE_string("out", "predictions.csv", "CSV file to which the table is written.")
flags.DEFINE_list("plugins", [], "Python files that register your own pieces.")
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")


def main():
    """Reads, classifies, and writes the table."""
    out = pathlib.Path(FLAGS.out)
    files.check_output("out", FLAGS.out)
    model = models.load(FLAGS.model)
    found = predict.read(FLAGS.images, model)
    print(f"{len(found.names)} image{'s' * (len(found.names) != 1)}")
    for note in found.notes:
        print(note)
    predicted = model.predict(found.pixels)
    predict.write(out, found.names, predicted, model)
    print(predict.summary(predicted, model))
    print(out.absolute())


if __name__ == "__main__":
    run.launch(main)
