"""Made-up runs for tests of the report: searches and a comparison."""

import json
import math

from jnas import report

HOSTILE = "</script></style></pre><img src=x onerror=alert(1)>'\"&\u2028{{1+1}}"
OPERATIONS = ("none", "skip_connect", "conv_3x3", HOSTILE)
EDGES = ("0->2", "1->2", "0->3")
DATA = {
    "name": f"npz:{HOSTILE}",
    "num_train": 1397,
    "num_test": 400,
    "image_shape": [8, 8, 1],
    "num_classes": 10,
    "class_names": ["0", HOSTILE],
}
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10">'
    '<style>.a &gt; .b { fill: red }</style><path class="b" d="M0 0L9 9"/></svg>'
)


def record(seed=0, **flags):
    """The content of run.json."""
    return {
        "command": "python experiments/search.py --workdir=w",
        "status": "finished",
        "seed": seed,
        "flags": {"space": "darts", "method": "darts"} | flags,
        "data_digest": "sha256:abc",
        "versions": {"jax": "0.10.2"},
        "device": "1 x cpu (cpu)",
        "starts": [{"started": "2026-01-01", "status": "interrupted"}],
    }


def metrics(num_epochs, offset=0.0):
    """The lines of a search: losses fall, accuracies rise, None for a NaN."""
    return [
        {
            "step": 10 * i,
            "phase": "search",
            "train_loss": None if i == 2 else 2 / i + offset,
            "valid_loss": 2.2 / i + offset,
            "train_accuracy": 1 - 1 / (i + 1) + offset,
            "valid_accuracy": 0.9 - 1 / (i + 1) + offset,
            "eigenvalue": 0.1 * i,
            **{f"count_{name}": float(i % 3) for name in OPERATIONS},
        }
        for i in range(1, num_epochs + 1)
    ]


def weights(num_epochs, edges=EDGES):
    """The lines of weights.jsonl: the last operation takes over."""
    lines = []
    for i in range(1, num_epochs + 1):
        parts = [math.exp(i * o / num_epochs) for o in range(len(OPERATIONS))]
        mix = {n: p / sum(parts) for n, p in zip(OPERATIONS, parts, strict=True)}
        cells = {cell: dict.fromkeys(edges, mix) for cell in ("normal", "reduce")}
        lines.append({"step": 10 * i, "phase": "search", "weights": cells})
    return lines


def evaluations(num):
    """The lines of evaluations.jsonl: more parameters, more accuracy, with waves."""
    return [
        {
            "evaluation": i,
            "cell": f"{HOSTILE} {i}",
            "scores": {
                "valid_12": 90 + i / num + math.sin(i),
                "-parameters": -1000.0 * (i + 1),
            },
        }
        for i in range(num)
    ]


def search(name="a", *, seed=0, num_epochs=5, offset=0.0, **flags):
    """A finished search as ``report.load`` gives it."""
    return report.RunFiles(
        name=name,
        run=record(seed, **flags),
        result={"valid_accuracy": 0.9 + offset, "parameters": 3349342, "best": HOSTILE},
        metrics=metrics(num_epochs, offset),
        weights=weights(num_epochs),
        genotype=json.dumps({"space": HOSTILE}),
        drawings={"cell": DRAWING},
    )


def discrete(name="d", *, seed=0, num=40, **flags):
    """A finished discrete search."""
    return report.RunFiles(
        name=name,
        run=record(seed, controller="random_search", signal=["valid_12"], **flags),
        result={"valid_12": 91.5, "evaluations": num},
        evaluations=evaluations(num),
    )


def objectives(name="m", *, num=40, **directions):
    """A finished search with several objectives, and with all that runs record now.

    Each of the directions is the name of a metric with "maximize" or "minimize".
    """
    directions = directions or {"valid_12": "maximize", "parameters": "minimize"}
    lines = [
        {
            "evaluation": i,
            "encoding": [i % 7, i % 3],
            "genotype": f"|{HOSTILE} {i % 7}~0|",
            "cell": f"cell: {i % 7} {HOSTILE}",
            "scores": {
                metric: round(50 + 40 * math.sin(i % 21 + 2 * k), 3)
                for k, metric in enumerate(directions)
            },
        }
        for i in range(num)
    ]
    flags = {"controller": "nsga2", "signal": list(directions)}
    return report.RunFiles(
        name=name,
        run=record(**flags) | {"data": DATA},
        result={
            **lines[0]["scores"],
            "evaluations": num,
            "directions": directions,
            "verdict": f"The front moved {HOSTILE}.",
            "warnings": [f"19 of 40 evaluations were repeats {HOSTILE}."],
            "next": f"jnas retrain --genotype={HOSTILE}",
        },
        evaluations=lines,
        front=[{k: v for k, v in lines[3].items() if k != "cell"}],
        objectives=directions,
    )


def comparison(name="c"):
    """A finished comparison of methods, with random search and traces."""

    def spread(mean, n):
        return {"mean": mean, "sd": 0.5, "n": n}

    names = (HOSTILE, "darts", "random_search")
    return report.RunFiles(
        name=name,
        run=record(),
        result={
            method: {"test_12": spread(90 + i, 3 + i), "wall_seconds": 3.0}
            for i, method in enumerate(names)
        },
        traces={
            "x_label": "evaluations",
            "y_label": "test_12",
            "traces": {
                method: {
                    "cost": [1, 2, 3],
                    "quartiles": [[88 + i, 89, 90], [89 + i, 90, 91], [90 + i, 91, 92]],
                    "n": 3 + i,
                }
                for i, method in enumerate(names)
            },
        },
    )


def write(folder, files):
    """Writes run files into a folder, as a launcher leaves them."""
    folder.mkdir(parents=True)

    def lines(name, content):
        text = "".join(json.dumps(line) + "\n" for line in content)
        (folder / name).write_text(text, encoding="utf-8")

    (folder / "run.json").write_text(json.dumps(files.run), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(files.result), encoding="utf-8")
    lines("metrics.jsonl", files.metrics)
    lines("weights.jsonl", files.weights)
    lines("evaluations.jsonl", files.evaluations)
    if files.objectives:
        front = {"format": "jnas.front", "version": 1, "front": list(files.front)}
        front["directions"] = files.objectives
        (folder / "front.json").write_text(json.dumps(front), encoding="utf-8")
    if files.genotype:
        (folder / "genotype.json").write_text(files.genotype, encoding="utf-8")
    for text in files.drawings.values():
        (folder / "cell.svg").write_text(text, encoding="utf-8")
    return folder
