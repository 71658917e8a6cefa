"""Evaluates a trained model on a data set: accuracy, confusions, the worst images.

    python experiments/evaluate.py --model=runs/retrain --data=npz:cifar10.npz \
        --workdir=runs/evaluated

The report has the accuracy of each class, the confusion matrix, the most frequent
confusions, and the ten images whose true class was given the lowest probability.
Classes are matched by name, and refused where they differ. Images may have the size
that the data set had or, after --shrink, that of the network. A model of another task
is measured by the task's metrics, of each number of a target too, and the report has
the examples of the largest loss.
"""

from jnas import models, run
from jnas.models import folder, storage
from jnas.studies import closing, evaluate, flags

FLAGS = flags.define(evaluate.EvaluateSettings)
run.define_streaming()


def main():
    """Evaluates, and writes the report."""
    (settings,) = FLAGS.read()
    model = models.load(settings.model)
    dataset = evaluate.load_data(settings.data, model)
    evaluate.match_classes(dataset, model)  # before anything is written
    path = folder.find(settings.model, storage.NAME, storage.FOLDER)
    content = {"model_sha256": folder.digest(path, storage.NAME)}
    with FLAGS.open_run(dataset, content=content) as r:
        result = r.finished or evaluate.evaluate(r, model, dataset, settings)
        if r.finished is not None:
            print(closing.is_finished(r))
        print(evaluate.text(r, result))


if __name__ == "__main__":
    run.launch(main)
