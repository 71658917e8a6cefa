"""Small inputs that once gave a wrong result without a word; each has its right value.

    pytest tests/cases_test.py -m 'slow or not slow' -n 2 -v

runs all of them. Each stands for a kind; its relatives are tested beside the code.
"""

import json
import re

import forks
import numpy as np
import pytest
from PIL import Image

from jnas import data, networks, spaces

TRAIN = [
    "--genotype=random", "--space=tiny", "--features=4", "--layers=3",
    "--batch_size=24", "--epochs=6", "--noauxiliary", "--cutout=0",
    "--drop_path_rate=0",
]  # fmt: skip
MINI = """
from jnas import registry
from jnas.endurance import kinds
registry.SPACES.register(kinds.mini)
"""
NO_FIRST_EDGE = {
    "cell": {
        "edges": [
            [0, 2, "nor_conv_3x3"],
            [0, 3, "nor_conv_3x3"],
            [2, 3, "nor_conv_1x1"],
        ],
        "concat": [3],
    }
}
DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 2), "
    "('skip_connect', 0)], normal_concat=range(2, 4), reduce=[('max_pool_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 2), ('skip_connect', 0)], "
    "reduce_concat=range(2, 4))"
)


def launch(name, *flags, cwd):
    """Runs a launcher as a user does."""
    return forks.launch(name, *flags, cwd=cwd, limit=600)


def accuracy(folder, dataset, *flags, of="test_accuracy"):
    """Trains a random cell on a data set, and returns its accuracy."""
    name = f"run{len(list(folder.iterdir()))}"
    done = launch("retrain", f"--workdir={name}", *TRAIN, f"--data={dataset}", *flags,
                  cwd=folder)  # fmt: skip
    assert done.status == 0, done.err
    return json.loads((folder / name / "result.json").read_text())[of]


def save(path, x, y, num_test=None):
    """Writes images and labels as both splits of an npz."""
    x = x.astype(np.uint8)
    np.savez(path, x_train=x, y_train=y, x_test=x[:num_test], y_test=y[:num_test])


@pytest.mark.slow
def test_1_a_constant_channel(tmp_path):
    """As without the channel, which has deviation 1 and not 3e-14."""
    rng, y = np.random.default_rng(0), np.arange(60) % 3
    x = rng.integers(0, 64, (60, 16, 16, 3)) + 60 * y[:, None, None, None]
    x[..., 2] = 77
    save(tmp_path / "dead.npz", x, y)
    assert data.load(f"npz:{tmp_path}/dead.npz").mean_std[1][2] == 1.0
    # 12 epochs: after 6 an image or two depend on how the program is compiled
    assert accuracy(tmp_path, "npz:dead.npz", "--epochs=12") == 1.0


@pytest.mark.slow
def test_2_a_series_as_a_one_row_image(tmp_path):
    """No crop moves its one row out of the image: 0.533 with such crops."""
    rng, y, t = np.random.default_rng(0), np.arange(240) % 3, np.arange(64)
    phase = 6.28 * rng.random((240, 1))
    x = 127 + 100 * np.sin(6.28 * (y[:, None] + 1) * t / 64 + phase)
    save(tmp_path / "series.npz", x[:, None, :, None], y, num_test=120)
    assert accuracy(tmp_path, "npz:series.npz") == 1.0


def test_3_grey_pictures_of_16_bits(tmp_path):
    """One channel, the same picture at 8 bits; 65,535 is 255."""
    rng, kept = np.random.default_rng(0), {}
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(10):
            kept[label, i] = rng.integers(0, 65536, (8, 8), dtype=np.uint16)
            Image.fromarray(kept[label, i]).save(tmp_path / label / f"{i}.png")
    read = data.load(f"folder:{tmp_path}")
    assert read.image_shape == (8, 8, 1)
    wanted = {np.round(v / 257).astype(np.uint8).tobytes() for v in kept.values()}
    whole = np.concatenate([read.x_train, read.x_test])
    assert {image[..., 0].tobytes() for image in whole} == wanted


@pytest.mark.slow
def test_4_left_and_right(tmp_path):
    """1.0 where nothing is mirrored, which is the default; --flip trains on chance."""
    y, ramp = np.arange(240) % 2, np.linspace(0, 200, 16)
    x = np.where(y[:, None] == 0, ramp, ramp[::-1])[:, None, :, None].repeat(16, 1)
    save(tmp_path / "arrows.npz", x, y)
    assert accuracy(tmp_path, "npz:arrows.npz") == 1.0
    assert accuracy(tmp_path, "npz:arrows.npz", "--flip", of="train_accuracy") < 0.7


def pictures(folder, count, suffix=".png", start=0):
    """Saves grey pictures of noise in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(start)
    for i in range(start, start + count):
        noise = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}{suffix}")


def test_5_what_a_folder_holds_is_used_or_said(tmp_path):
    """Suffixes, deeper folders, splits; an empty class is refused by name."""
    for label in "ab":
        pictures(tmp_path / "tif" / label, 5)
        pictures(tmp_path / "tif" / label, 5, ".tif", 5)
        pictures(tmp_path / "deep" / label, 5)
        pictures(tmp_path / "deep" / label / "x", 5, start=5)
        pictures(tmp_path / "empty" / label, 5)
        for split in ("train", "val", "test"):
            pictures(tmp_path / "three" / split / label, 10)
        for split in ("Train", "Test"):
            pictures(tmp_path / "capital" / split / label, 10)
        for split in ("train", "val"):
            pictures(tmp_path / "two" / split / label, 10)
    (tmp_path / "empty" / "c").mkdir()

    def counts(name):
        read = data.load(f"folder:{tmp_path / name}")
        return len(read.y_train), len(read.y_test), " ".join(read.notes)

    assert sum(counts("tif")[:2]) == sum(counts("deep")[:2]) == 20
    with pytest.raises(ValueError, match="'c'"):
        data.load(f"folder:{tmp_path / 'empty'}")
    assert counts("three")[:2] == (40, 20) and "val" in counts("three")[2]
    assert counts("capital")[:2] == (20, 20)
    assert counts("two")[:2] == (20, 20) and "val" in counts("two")[2]


def test_6_a_cell_without_its_first_edge(tmp_path):
    """As its string with none: 148,098 parameters at 8 features, 5 cells a stage."""
    head = {"format": "jnas.genotype", "version": 1, "space": "nasbench201"}
    (tmp_path / "g.json").write_text(json.dumps({**head, "cells": NO_FIRST_EDGE}))
    string = "|none~0|+|nor_conv_3x3~0|none~1|+|nor_conv_3x3~0|none~1|nor_conv_1x1~2|"
    for given in ("g.json", string):
        for more in ([], ["--space=nasbench201"]):
            done = launch("describe", f"--genotype={given}", "--features=8",
                          "--layers=5", *more, cwd=tmp_path)  # fmt: skip
            assert done.status == 0, done.err
            counts = json.loads(done.out.splitlines()[-1])
            assert counts["parameters"] == 148_098


@pytest.mark.parametrize("concat", ["range(2, 8)", "[2, 3, 4, 6]"])
def test_7_a_concat_beyond_the_cells_nodes(tmp_path, concat):
    """Refused; it added states of zeros."""
    four = "[" + ", ".join(["('sep_conv_3x3', 0), ('sep_conv_3x3', 1)"] * 4) + "]"
    text = (
        f"Genotype(normal={four}, normal_concat={concat}, reduce={four}, "
        "reduce_concat=range(2, 6))"
    )
    done = launch("describe", f"--genotype={text}", cwd=tmp_path)
    assert done.status == 1 and "concat must" in done.err
    assert len(done.err.strip().splitlines()) == 1


def small(folder):
    """48 images of three easy classes."""
    y = np.arange(48) % 3
    x = (
        np.random.default_rng(0).integers(0, 60, (48, 8, 8, 1))
        + 80 * y[:, None, None, None]
    )
    save(folder / "small.npz", x, y)
    return [*TRAIN[:4], "--batch_size=24", *TRAIN[6:], "--data=npz:small.npz"]


@pytest.mark.slow
def test_8_and_9_a_finished_run_that_is_asked_to_change(tmp_path):
    """Past its end it is refused; further it is extended; the advice works."""
    line = ["retrain", "--workdir=r", *small(tmp_path)]
    assert launch(*line, "--epochs=3", cwd=tmp_path).status == 0
    done = launch(*line, "--epochs=2", "--allow_changed", cwd=tmp_path)
    assert done.status == 1 and "--allow_changed" not in done.err
    assert "Only raising epochs extends it" in done.err
    done = launch(*line, "--epochs=5", cwd=tmp_path)
    assert done.status == 1 and "Add --allow_changed to extend it" in done.err
    done = launch(*line, "--epochs=5", "--allow_changed", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "extends what was finished from step 6 of 10" in done.err
    assert "the learning rate resumes at" in done.err
    last = json.loads((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[-1])
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert last["step"] == 10
    assert result["train_accuracy"] == pytest.approx(last["train_accuracy"])


def test_10_a_batch_of_one_with_the_auxiliary_head(tmp_path):
    """Refused: a norm of one value gives one constant for every image."""
    line = [*small(tmp_path), "--workdir=r", "--batch_size=1", "--auxiliary"]
    done = launch("retrain", *line, cwd=tmp_path)
    assert done.status == 1 and "batch_size must be at least 2" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_11_six_kinds_of_cell():
    """Refused before anything is built: five of them would have no gradient."""
    space = spaces.CellSpace(
        "chain", tuple(f"block{i}" for i in range(6)), 1, 1,
        ("skip_connect", "nor_conv_3x3"), None, (1,),
    )  # fmt: skip
    with pytest.raises(ValueError, match="kind"):
        networks.supernet(space, networks.Size(4, 6, 10))


def test_12_a_cost_is_minimised(tmp_path):
    """From 34 thousand parameters to 27 thousand; they rose to 60 thousand."""
    done = launch(
        "search_discrete", "--workdir=r", "--controller=nsga2", "--num_evaluations=400",
        "--objective=table:digits201", "--signal=valid_12,parameters", cwd=tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.err
    lines = (tmp_path / "r" / "evaluations.jsonl").read_text().splitlines()
    sizes = [json.loads(line)["scores"]["parameters"] for line in lines]
    first, last = np.mean(sizes[:40]), np.mean(sizes[-40:])
    assert last < 0.85 * first, (first, last)
    assert "parameters ↓" in (tmp_path / "r" / "report.html").read_text()


@pytest.mark.slow
def test_13_a_search_that_did_not_move(tmp_path):
    """Its own rates, few steps: a warning during, at the end, in the report."""
    done = launch(
        "search", "--workdir=r", "--data=digits", "--space=nasbench201", "--features=2",
        "--layers=1", "--epochs=2", "--watch_interval=0", cwd=tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "is the paper's, for its 19,500 steps; this search has" in done.err
    assert "search: warning: the weights hardly moved" in done.err
    assert "\nwarning: the weights hardly moved" in done.out
    assert "the weights hardly moved" in (tmp_path / "r" / "report.html").read_text()


def test_14_a_printed_genotype(tmp_path):
    """On the command line, in a .txt, in a .py, with a byte order mark."""
    (tmp_path / "g.txt").write_text("\ufeff" + DARTS, encoding="utf-8")
    (tmp_path / "g.py").write_text(f"FOUND = {DARTS}\n")
    found = []
    for given in (DARTS, "g.txt", "g.py"):
        done = launch("describe", f"--genotype={given}", "--space=tiny", cwd=tmp_path)
        assert done.status == 0, done.err
        found.append(json.loads(done.out.splitlines()[-1]))
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_15_two_objectives_on_images(tmp_path):
    """NSGA-II on accuracy from scratch and parameters; it died at its first round."""
    (tmp_path / "mini.py").write_text(MINI)
    done = launch(
        "search_discrete", "--workdir=r", "--data=digits", "--shrink=2", "--features=2",
        "--layers=1", "--epochs=1", "--objective=scratch", "--controller=nsga2",
        "--plugins=mini.py", "--space=mini",
        "--signal=valid_accuracy,parameters", "--num_evaluations=8",
        "--options=controller.population_size=4", cwd=tmp_path,
    )  # fmt: skip
    assert done.status == 0, done.err
    front = json.loads((tmp_path / "r" / "front.json").read_text())
    assert front["directions"] == {
        "valid_accuracy": "maximize",
        "parameters": "minimize",
    }
    assert re.search(r"valid_accuracy ↑ \| parameters ↓", done.out)
