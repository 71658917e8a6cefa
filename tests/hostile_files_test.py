"""Hostile files: genotypes, data sets and tables, each refused in one line."""

import json
import os
import zipfile

import forks
import numpy as np
from PIL import Image

CELL = {"edges": [[0, 2, "skip_connect"], [1, 2, "sep_conv_3x3"]], "concat": [2]}
GENOTYPE = {
    "format": "jnas.genotype",
    "version": 1,
    "space": "darts",
    "cells": {"normal": CELL, "reduce": CELL},
}
TEXT = json.dumps(GENOTYPE)
GENOTYPES = {
    # name: content, what the message must hold
    "open": ("{", "genotype must be JSON, got Expecting property name"),
    "empty": ("", "genotype must be a genotype.json, a NAS-Bench-201 string"),
    "binary": (b"\xff\0" * 50, "genotype must be UTF-8 text, got 'binary.json'"),
    "list": ("[]", "genotype must be an object, got []"),
    "deep": ("[" * 50_000, "genotype must nest at most 8 deep, got '[[["),
    "huge": (TEXT.replace("[0, 2,", f"[1{'0' * 5000}, 2,"), "at most 9 digits, got 10"),
    "nan": (TEXT.replace("[0, 2,", "[NaN, 2,"), "numbers must be finite, got NaN"),
    "twice": (TEXT.replace("{", '{"space": "x",', 1), "keys must be different, got"),
    "format": (dict(format="nni"), "format must be 'jnas.genotype', got 'nni'"),
    "version": (dict(version=2), "version must be 1, got 2. Read it with the jnas"),
    "space": (dict(space="a\nb"), r"space must be 1 to 100 printable characters, got"),
    "more": (dict(run="rm -r"), "must have exactly the keys format, version, space"),
    "operation": (TEXT.replace("sep_conv_3", "sep_conv3"), "mean 'sep_conv_3x3'?"),
    "code": (TEXT.replace("sep_conv_3x3", "__import__('os')"), "must be one of sep_c"),
    "outside": (TEXT.replace("[0, 2,", "[0, 99,"), "`to` from 0 to 63, got 99"),
    "backwards": (
        TEXT.replace("[0, 2,", "[3, 2,"),
        "have `from` below `to`, got (3, 2",
    ),
}
CELLS = {
    "DARTS_V3": "Did you mean 'DARTS_V2'?",
    "folder": "genotype must be an existing file, a NAS-Bench-201 string, Genotype(",
    "pipe": "got 'pipe'",
    "/dev/zero": "got '/dev/zero'",
    "large": "genotype must be at most 1000000 bytes, got a longer one",
    "no\0name": r"got 'no\x00name'",
    "x" * 5000: "genotype must be an existing file",
    "|none~0|": "string must have the form |op~0|+|op~0|op~1|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|nane~2|": "Did you mean 'none'?",
    "Genotype(normal=__import__('os'))": "text must have the form Genotype(normal=",
}

X = np.repeat(np.arange(8, dtype=np.uint8), 64).reshape(8, 8, 8, 1)
Y = np.arange(8) % 2
NAN = np.where(np.arange(8)[:, None, None, None] == 3, np.nan, X).astype(np.float32)
ARRAYS = {
    "missing": (dict(y_test=None), "without y_test. Add the array."),
    "objects": (dict(y_train=np.array([{}] * 8, object)), "Object arrays cannot be"),
    "shape": (dict(x_train=X.reshape(8, 64)), "must be [N, H, W, C] or [N, H, W], got"),
    "pixels": (dict(x_train=NAN, x_test=NAN[:2], y_test=Y[:2]), "got nan in image 3"),
    "floats": (dict(x_train=X * 1.0), "must be uint8 or float32, got float64"),
    "text": (dict(x_train=np.array(["a"] * 8)), "must be uint8 or float32, got <U1"),
    "imageless": (dict(x_train=X[:0], y_train=Y[:0]), "at least one image and pixel"),
    "untested": (dict(x_test=X[:0], y_test=Y[:0]), "at least one image and pixel"),
    "negative": (dict(y_train=Y - 1), "class numbers from 0 to 99999, got -1 at index"),
    "huge": (dict(y_train=Y * 2**40), "from 0 to 99999, got 1099511627776 at index 1"),
    "halves": (dict(y_train=Y / 2), "must be integers [N], got float64"),
    "gap": (dict(y_train=Y * 3), "every class from 0 to 3, got none of class 1"),
    "one": (dict(y_train=Y * 0, y_test=Y[:4] * 0), "at least 2 classes, got 1"),
    "fewer": (dict(y_train=Y[:3]), "one label for each of 8 images, got 3"),
    "scalar": (
        dict(y_train=np.int64(3)),
        "must be integers [N], got int64 of shape ()",
    ),
}
NO_ZIP = "data must be a readable npz of plain arrays, got 'npz:{}' (it is no zip file"
DATA = {
    "npz:": "data must have a path after npz:, got 'npz:'",
    "npz:none.npz": "data must be an existing file, got 'npz:none.npz'",
    "npz:pipe": "data must be an existing file, got 'npz:pipe'",
    "npz:folder": "data must be an existing file, got 'npz:folder'",
    "npz:/dev/zero": "data must be an existing file, got 'npz:/dev/zero'",
    "npz:a\0b": r"data must be an existing file, got 'npz:a\x00b'",
    f"npz:{'x' * 300}": "data must be an existing file, got 'npz:xxx",
    "npz:pickle.npz": NO_ZIP.format("pickle.npz"),
    "npz:single.npz": NO_ZIP.format("single.npz"),
    "npz:large": NO_ZIP.format("large"),
    "npz:torn.npz": "(File is not a zip file)",
    "npz:flipped.npz": "(Bad CRC-32 for file 'x_train.npy')",
    "npz:members.npz": "x_train is no array",
    "npz:lie.npz": "(Unable to allocate",
    "npz:header.npz": "a readable npz of plain arrays, got 'npz:header.npz'",
    "npz:missing.npz?size=3": "with options none, got",
    "folder:": "data must have a path after folder:, got 'folder:'",
    "folder:none": "data must be an existing folder, got 'folder:none'",
    "folder:a\0b": r"data must be an existing folder, got 'folder:a\x00b'",
    "folder:folder": "must hold one folder per class, got none",
    "folder:hollow": "must hold images in the folder of each class, got none of class",
    "folder:hollow?size=0": "size must be from 1 to 4096, got 0",
    "folder:sound?size=0": "size must be from 1 to 4096, got 0",
    "folder:sound?size=99999": "size must be from 1 to 4096, got 99999",
    "folder:sound?size=²": "with options size, background, got",
    "folder:sound?width=3": "with options size, background, got",
    "folder:alone": "at least 2 classes, got 1",
    "folder:unreadable": "images must be readable, got 'unreadable/a/9.png' (not an",
    "folder:piped": "images must be readable, got 'piped/a/9.png' (no regular file)",
    "folder:bomb": "images must be readable, got 'bomb/a/9.png' (Image size (100000000",
    "tfds:": "data must have a name after tfds:, got 'tfds:'",
    "tfds:no_such_set": "must be prepared under",
    "tfds:../etc": "a name of letters, digits, _ and /, got 'tfds:../etc'",
    "tfds:/etc": "a name of letters, digits, _ and /, got 'tfds:/etc'",
    "tfds:x');import os": "a name of letters, digits, _ and /, got",
    "tfds:damaged?data_dir=prepared": "data must be readable, got 'tfds:damaged' (",
    "tfds:cifar10?data_dir=~nobody-here": "must be prepared under '~nobody-here'",
    "nzp:x": "Did you mean 'npz'?",
    "fasion": "Did you mean 'fashion'?",
}

SIZES = dict(sizes=np.array([2, 2]), gene_names=np.array(["a", "b"]))
VALID = dict(SIZES, valid_12=np.zeros(4), test_12=np.zeros(4))
TABLES = {
    "t_missing": (
        dict(a=np.zeros(3)),
        "must hold sizes and gene_names, got 't_missing",
    ),
    "t_objects": (dict(SIZES, sizes=np.array([{}])), "Object arrays cannot be loaded"),
    "t_rows": (
        dict(SIZES, valid_12=np.zeros(3)),
        "one valid_12 for each of 4 rows, got",
    ),
    "t_negative": (dict(VALID, sizes=np.array([-2, 2])), "sizes of 1 or more, got (-2"),
    "t_huge": (dict(VALID, sizes=np.array([2**62] * 2)), "must have one valid_12 for"),
    "t_text": (dict(VALID, valid_12=np.array(["a"] * 4)), "valid_12 of another type"),
    "t_floats": (dict(VALID, sizes=np.array([2.0, 2])), "hold sizes of another type"),
    "t_scalar": (dict(VALID, encodings=np.array(3)), "must have encodings [N, 2], got"),
    "t_none": (dict(SIZES, encodings=np.zeros((0, 2), int)), "at least one row, got 0"),
    "t_twice": (
        dict(VALID, encodings=np.zeros((4, 2), int)),
        "each encoding once, got",
    ),
    "t_metric": (dict(SIZES, valid_3=np.zeros(4)), "Did you mean 'valid_3'?"),
}
OTHER_TABLES = {
    "none.npz": "table must be an existing npz file, got 'none.npz'",
    "pickle.npz": "a readable npz of plain arrays, got 'pickle.npz' (it is no zip",
    "lie.npz": "(Unable to allocate",
    f"{'x' * 300}.npz": "table must be an existing npz file, got 'xxx",
    "nasbench201:t_metric.npz": "must hold ops, got none",
    "nats_csv:pipe": "must be an existing file, got none",
    "digits210": "Did you mean 'digits201'?",
}


def lines():
    """Returns label -> (line, words)."""
    retrain = ["retrain", "--workdir=new", "--data=npz:none.npz"]
    search = ["search", "--workdir=new", "--space=tiny"]
    compare = ["compare", "--workdir=new", "--budget_evaluations=3"]
    given = {
        **{f"{name}.json": words for name, (_, words) in GENOTYPES.items()},
        **CELLS,
    }
    data = {f"npz:{name}.npz": words for name, (_, words) in ARRAYS.items()} | DATA
    known = {f"{name}.npz": words for name, (_, words) in TABLES.items()}
    rows = [
        *[([*retrain, f"--genotype={n}"], words) for n, words in given.items()],
        *[([*search, f"--data={n}"], words) for n, words in data.items()],
        *[
            ([*compare, f"--objective=table:{n}"], words)
            for n, words in (known | OTHER_TABLES).items()
        ],
    ]
    return {ascii(line[-1])[1:60]: (line, words) for line, words in rows}


def make_arrays(folder):
    """Writes npz files of all kinds."""
    sound = dict(x_train=X, y_train=Y, x_test=X[:4], y_test=Y[:4])
    for name, (changes, _) in ARRAYS.items():
        arrays = {k: v for k, v in (sound | changes).items() if v is not None}
        np.savez(folder / f"{name}.npz", **arrays)
    for name, (arrays, _) in TABLES.items():
        np.savez(folder / f"{name}.npz", **arrays)
    np.savez(folder / "torn.npz", **sound)
    whole = (folder / "torn.npz").read_bytes()
    (folder / "torn.npz").write_bytes(whole[: len(whole) // 2])
    flipped = bytes([*whole[:200], whole[200] ^ 1, *whole[201:]])
    (folder / "flipped.npz").write_bytes(flipped)
    np.save(folder / "single.npy", X)
    (folder / "single.npy").rename(folder / "single.npz")
    (folder / "pickle.npz").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    start, tail = b"\x93NUMPY\x01\x00", b", 'fortran_order': False, 'shape': "
    lie = b"{'descr': '|u1'" + tail + b"(99999999999999,)}\n"
    for name, header in (("lie", lie), ("header", b"(" * 3000 + b"\n")):
        with zipfile.ZipFile(folder / f"{name}.npz", "w") as archive:
            length = len(header).to_bytes(2, "little")
            for key in (*sound, "sizes"):
                archive.writestr(f"{key}.npy", start + length + header)
    with zipfile.ZipFile(folder / "members.npz", "w") as archive:
        for key in sound:
            archive.writestr(key, "no array")


def make_images(folder):
    """Writes folders of images of all kinds."""
    for name in ("sound", "alone", "unreadable", "piped", "bomb", "hollow"):
        for kind in "a" if name == "alone" else "ab":
            (folder / name / kind).mkdir(parents=True)
            for i in range(5 if name != "hollow" else 0):
                picture = Image.new("L", (4, 4), i)
                picture.save(folder / name / kind / f"{i}.png")
    (folder / "unreadable/a/9.png").write_text("no picture")
    os.mkfifo(folder / "piped/a/9.png")
    Image.new("1", (10_000, 10_000)).save(folder / "bomb/a/9.png")


def make_others(folder):
    """Writes genotypes, and what is no file at all."""
    for name, (content, _) in GENOTYPES.items():
        if isinstance(content, dict):
            content = json.dumps(GENOTYPE | content)
        content = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.json").write_bytes(content)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    with (folder / "large").open("wb") as file:
        file.truncate(100 << 20)  # a hole: no disk is used
    (folder / "prepared/damaged/1.0.0").mkdir(parents=True)
    (folder / "prepared/damaged/1.0.0/dataset_info.json").write_text("{]")


def test_hostile_files_are_refused(tmp_path):
    """Status 1 or 2, two lines at most, under 5 s, value and rule named."""
    make_arrays(tmp_path)
    make_images(tmp_path)
    make_others(tmp_path)
    assert forks.faults(lines(), tmp_path) == {}
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "new").exists()  # nothing was made before all was looked at
