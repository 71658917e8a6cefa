"""Hostile command lines: workdirs, flags and plug-ins, each refused in one line."""

import os
import subprocess

import forks
import pytest

from jnas.run import files
from jnas.run import folder as folder_lib

STRAY = "arguments must be flags, got 'stray'. Write --name=value."
BEFORE = {  # what a line begins with; a flag that comes again replaces it
    "quickstart": ["--workdir=new"],
    "search": ["--workdir=new", "--data=digits"],
    "search_discrete": ["--workdir=new", "--data=digits"],
    "retrain": ["--workdir=new", "--data=digits", "--genotype=DARTS_V2"],
    "compare": ["--workdir=new"],
    "make_table": ["--workdir=new"],
    "report": ["--runs=sound"],
    "describe": [],
    "benchmark": [],
    "benchmark_discrete": [],
}
# the digits' 8 rows, averaged by 2, are one pixel after two reductions
SMALL = ["--shrink=2", "--space=tiny", "--features=4", "--layers=3"]
ENTRIES = ", ".join(f"('sep_conv_3x3', {i % 2})" for i in range(8))
FAR = f"Genotype(normal=[{ENTRIES}], normal_concat=range(2, 8), "
FAR += f"reduce=[{ENTRIES}], reduce_concat=range(2, 6))"
WORKDIRS = {
    "": "must name a folder, got ''. Use printable characters",
    "a\0b": r"must name a folder, got 'a\x00b'",
    "a\nb": r"must name a folder, got 'a\nb'",
    "a\udcffb": r"must name a folder, got 'a\udcffb'",
    "x" * 300: "got File name too long for",
    "file": "can be written, got 'file', in which none can be created, for 'file'",
    "file/../file": "in which none can be created, for 'file/../file'",
    "file/below": "got 'file', in which none can be created, for 'file/below'",
    "dangling": "got 'dangling', in which none can be created",
    "/dev/null": "in which none can be created, for '/dev/null'",
    "/proc/none": "must be a folder that can be written",
    "~nobody-of-this-name/x": "got no such user for '~nobody-of-this-name/x'",
    "foreign": "must be new or hold a run, got 'foreign' with genotype.json but no run",
    "damaged": "run.json must be JSON, got ",
    "binary": "run.json must be JSON, got ",
    "deep": "run.json must be JSON, got ",
    "list": "run.json must hold a JSON object, got list",
    "flags": "run.json must hold flags as a dict, got [1]",
    "result": "result.json must be JSON, got",
    "is_folder": "run.json must be a file, got something else at 'is_folder/run.json'",
    "is_pipe": "run.json must be a file, got something else at 'is_pipe/run.json'",
    "lock": ".lock must be a file, got something else at 'lock/.lock'",
    "checkpoints": "checkpoints must be a folder, got something else",
}
PLUGINS = {
    "no.py": "plugins must name existing .py files, got 'no.py'. Check the path.",
    "folder.py": "existing .py files, got 'folder.py'",
    "pipe.py": "existing .py files, got 'pipe.py'",
    "endless.py": "existing .py files, got 'endless.py'",
    "nul\0.py": r"existing .py files, got 'nul\x00.py'",
    "text.txt": "existing .py files, got 'text.txt'",
    "syntax.py": "plugins must run, got SyntaxError: invalid syntax",
    "bytes.py": "plugins must run, got ",  # NUL or no UTF-8, by Python's version
    "raises.py": "plugins must run, got RuntimeError: a b in 'raises.py'",
    "leaves.py": "plugins must run, got SystemExit: 0 in 'leaves.py'",
    "imports.py": "plugins must run, got ModuleNotFoundError: No module named",
    "taken.py": "operation must have a new name, got 'none', which is taken",
}
FLAGS = [
    # launcher, flags, what the message must hold
    ("search", ["--wrkdir=x"], "Did you mean --workdir?"),
    ("search", ["--nodebug=1"], "--nodebug=1 does not take an argument"),
    ("search", ["--weights_decay=3"], "Did you mean --weight_decay?"),
    ("search", ["--epochs=0"], "epochs must be at least 1, got 0"),
    ("search", ["--epochs=1.5"], "--epochs must be an integer, got '1.5'"),
    ("search", ["--epochs=99999999999"], "--epochs must be at most 2147483647, got 9"),
    ("search", ["--epochs=2147483647"], "num_epochs must give fewer than 2**31 steps"),
    ("search", ["--seed=-1"], "in the range [0, 4294967295], got '-1'"),
    ("search", ["--num_devices=0"], "--num_devices must be an integer in the range [1"),
    ("search", ["--num_devices=99999"], "in the range [1, 1024], got '99999'"),
    ("search", ["--num_seeds=0"], "--num_seeds must be a positive integer, got '0'"),
    ("search", ["--features=99999"], "features must be from 1 to 10000, got 99999"),
    ("search", ["--layers=99999"], "num_layers must be from 1 to 1000, got 99999"),
    ("search", ["--batch_size=0"], "batch_size must be at least 1, got 0"),
    ("search", ["--batch_size=99999"], "batch_size must be from 1 to the 699 examples"),
    ("search", ["--workdir=torn", "--batch_size=99999"], "skipped 3 damaged lines"),
    ("search", ["--learning_rate=-1"], "learning_rate must be at least 0, got -1.0"),
    ("search", ["--learning_rate=nan"], "--learning_rate must be finite, got nan"),
    ("search", ["--learning_rate=1e999"], "--learning_rate must be finite, got inf"),
    ("search", ["--checkpoint_seconds=nan"], "--checkpoint_seconds must be finite"),
    ("search", ["--valid_rate=1"], "valid_rate must leave each split"),
    ("search", ["--shrink=3"], "shrink must divide the image's 8x8 pixels, got 3"),
    ("search", ["--space=dart"], "Did you mean 'darts'?"),
    ("search", ["--method=dartz"], "Did you mean 'darts'?"),
    ("search", ["--relaxation=sofmax"], "Did you mean 'softmax'?"),
    ("search", ["--operations=none,sep_conv3x3,skip_connect"],
     "Did you mean 'sep_conv_3x3'?"),
    ("search", ["--operations=none"], "candidates must hold more than 'none'"),
    ("search", ["--operations=none,none"], "candidates must differ"),
    ("quickstart", ["--retrain_epochs=0"], "--retrain_epochs must be a positive"),
    ("quickstart", ["--num_random=-1"], "--num_random must be a non-negative integer"),
    ("quickstart", ["--epochs=0"], "epochs must be at least 1, got 0"),
    ("retrain", ["--genotype=DARTS_V3"], "mean 'DARTS_V2'?"),
    ("retrain", ["--batch_size=0"], "batch_size must be from 1 to the 1397 examples"),
    ("retrain", ["--cutout=9"], "cutout must be from 0 to 6 to leave something of"),
    ("retrain", ["--cutout=-1"], "--cutout must be a non-negative integer, got '-1'"),
    ("retrain", ["--crop_padding=5"], "crop_padding must be from 0 to 4, half of the"),
    ("search", ["--cutout=7"], "to leave something of images of 8x8 pixels cropped by"),
    ("search", ["--augment=auot"], "--augment must be one of auto, standard, none"),
    ("retrain", ["--drop_path_rate=2"], "drop_path_rate must be in [0, 1), got 2.0"),
    ("retrain", ["--dtype=int8"], "--dtype must be one of float32, bfloat16, got"),
    ("retrain", [*SMALL, "--genotype=random", "--noauxiliary", "--batch_size=1"],
     "batch_size must be at least 2 where a"),
    ("search", [*SMALL, "--batch_size=1"], "batch_size must be at least 2 where a"),
    ("search", [*SMALL, "--layers=2"], "num_layers must be at least 3 for the cells"),
    ("compare", [], "must be one of --budget_evaluations and --budget_seconds"),
    ("compare", ["--budget_seconds=1e-6"], "must pay for the cheapest cell's"),
    ("compare", ["--budget_seconds=inf"], "--budget_seconds must be finite, got inf"),
    ("compare", ["--budget_seconds=1e300"], "must be at most 100000000 evaluations"),
    ("compare", ["--budget_evaluations=9", "--signal=vald_12"], "mean 'valid_12'?"),
    ("compare", ["--budget_evaluations=9", "--signal="], "signal must name at least"),
    ("compare", ["--budget_evaluations=9", "--report="], "report must name at least"),
    ("compare", ["--budget_evaluations=9", "--num_runs=1"], "integer >= 2, got '1'"),
    ("compare", ["--budget_evaluations=9", "--controllers=reinforc"], "'reinforce'?"),
    ("compare", ["--methods=dartz"], "Did you mean 'darts'?"),
    ("compare", ["--methods=darts", "--controllers=reinforce"], "without controllers"),
    ("compare", ["--methods=darts", "--images_per_cell=0"], "a positive integer"),
    ("compare", ["--budget_evaluations=9", "--objective=digits201"],
     "must be table:NAME"),
    ("search_discrete", ["--objective=scrach"], "Did you mean 'scratch'?"),
    ("search_discrete", ["--controller=nsga"], "Did you mean 'nsga2'?"),
    ("search_discrete", ["--num_proposals=0"], "num_proposals must be an integer from"),
    ("search_discrete", ["--batch_size=0"], "batch_size must be from 1 to the"),
    ("search_discrete", ["--objective=table:digits201", "--signal=low:test_12"],
     "maximize:NAME"),
    ("search_discrete", ["--objective=table:digits201", "--space=tiny"],
     "must have the table's sizes"),
    ("make_table", ["--space=darts"], "at most 1000000 encodings"),
    ("make_table", ["--short_epochs=12"], "short_epochs must be below epochs, 12, got"),
    ("describe", ["--genotype=DARTS_V2", "--layers=0"], "from 1 to 1000, got 0"),
    ("describe", ["--genotype=DARTS_V2", "--space=nasbench201"], "Leave --space out."),
    ("describe", ["--genotype=DARTS_V2", "--layers=2"], "must be at least 3 for the"),
    ("describe", [f"--genotype={FAR}"], "normal.concat must hold nodes from 2 to 5"),
    ("describe", ["--genotype=DARTS_V2", "--drawing=no/x.svg"], "an existing folder"),
    ("describe", ["--genotype=DARTS_V2", "--drawing=foreign"], "an existing folder"),
    ("describe", [], "genotype must be given unless --methods is"),
    ("benchmark", ["--steps=forwards"], "Did you mean 'forward'?"),
    ("benchmark", ["--json=foreign"], "json must be a file in an existing folder"),
    ("benchmark", ["--compare=pipe.py"], "last line is a benchmark's JSON object"),
    ("benchmark", ["--compare=/dev/zero"], "last line is a benchmark's JSON object"),
    ("benchmark", ["--compare=deep/run.json"], "last line is a benchmark's JSON"),
    ("benchmark_discrete", ["--what="], "what must be some of controllers, forms"),
    ("benchmark_discrete", ["--features=x"], "features must be numbers from 1, got"),
    ("report", ["--runs="], "runs must name at least one folder, got none"),
    ("report", ["--runs=none"], "got 'none'"),
    ("report", ["--runs=foreign"], "got 'foreign'"),
    ("report", ["--runs=damaged"], "run.json must"),
    ("report", ["--runs=is_pipe"], "run.json must be a JSON object"),
    ("report", ["--out=foreign"], "out must be a file in an existing folder"),
    *[(name, ["stray"], STRAY) for name in BEFORE],
    *[(name, ["--nosuch"], "flag must be one that exists, got --nosuch.")
      for name in BEFORE],
    *[(name, ["--workdir=file"], "workdir must be a folder that can be written")
      for name, flags in BEFORE.items() if "--workdir=new" in flags],
]  # fmt: skip


def lines():
    """Returns label -> (line, words)."""
    rows = [
        *[("search", [f"--workdir={name}"], words) for name, words in WORKDIRS.items()],
        *[("search", [f"--plugins={name}"], words) for name, words in PLUGINS.items()],
        *FLAGS,
    ]
    return {
        ascii(" ".join((name, *flags)))[1:60]: ([name, *BEFORE[name], *flags], words)
        for name, flags, words in rows
    }


LINES = lines()


def make_files(folder):
    """Writes what the lines name."""
    texts = {
        "file": "", "foreign/genotype.json": "{}", "damaged/run.json": "{",
        "binary/run.json": b"\xff\0", "deep/run.json": "[" * 100_000,
        "list/run.json": "[]", "flags/run.json": '{"flags": [1]}',
        "result/run.json": "{}", "result/result.json": "{",
        "checkpoints/run.json": "{}", "checkpoints/checkpoints": "",
        "sound/run.json": "{}", "torn/run.json": "{}", "torn/metrics.jsonl": "{\n{]\n[",
        "text.txt": "", "syntax.py": "def (", "bytes.py": b"\xff\0\x01",
        "raises.py": "raise RuntimeError('a\\nb')", "leaves.py": "raise SystemExit(0)",
        "imports.py": "import no_such_module",
        "taken.py": "from jnas import registry\n\n@registry.OPERATIONS.register\n"
        "def none(features, stride, *, norm, rngs):\n    return None\n",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    for name in ("is_folder/run.json", "lock/.lock", "is_pipe", "folder.py"):
        (folder / name).mkdir(parents=True)
    for name in ("is_pipe/run.json", "pipe.py"):
        os.mkfifo(folder / name)
    (folder / "endless.py").symlink_to("/dev/zero")
    (folder / "dangling").symlink_to("nowhere/x")


def test_hostile_lines_are_refused(tmp_path):
    """Status 1 or 2, two lines at most, under 5 s, value and rule named."""
    make_files(tmp_path)
    assert forks.faults(LINES, tmp_path) == {}
    assert not (tmp_path / "none").exists()


def test_a_fault_is_seen():
    """What the table holds against a launcher."""
    good = forks.Answer(1, "", "x must be 1, got 2. Change it.\n", 0.1)
    assert forks.fault(good, "x must be 1") == ""
    for change in (
        dict(status=0), dict(status=-14), dict(err=""), dict(seconds=5.1),
        dict(err=good.err * 3), dict(err="Traceback of\nx must be 1"),
    ):  # fmt: skip
        assert forks.fault(good._replace(**change), "x must be 1"), change
    assert forks.fault(good, "x must be 3")


def test_dots_in_a_workdir_are_resolved_before_anything_is_made(tmp_path, monkeypatch):
    """``a/../b`` is ``b``, and no ``a`` is left behind; a link is not followed up."""
    monkeypatch.chdir(tmp_path)
    assert folder_lib.make("a/../b") == tmp_path / "b"
    assert os.listdir(tmp_path) == ["b"]


def test_a_mounted_workdir_that_is_read_only(tmp_path):
    """Neither made nor written, whoever asks."""
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path)]
    if (
        os.geteuid()
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("nothing may be mounted here")
    try:
        for folder in (tmp_path, tmp_path / "new" / "run"):
            for look in (folder_lib.check, folder_lib.make):
                with pytest.raises(files.RunError, match="can be written, got"):
                    look(folder)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_bytes_of_an_odd_name_come_back_from_json(tmp_path):
    """A path need not be UTF-8; run.json must be."""
    path, value = tmp_path / "a.json", {"data": "npz:\udcff\u2028é"}
    files.write_json(path, value)
    assert "é" in path.read_text("utf-8") and files.read_json(path) == value
