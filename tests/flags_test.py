"""Tests of flags made from settings: values, help, options, and what run.json keeps."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import forks
import jax.numpy as jnp
import pytest

from jnas import data, registry, run, settings, spaces
from jnas.gradient import methods
from jnas.run import files
from jnas.studies import keys, search_gradient, setup, train_scratch

ROOT = pathlib.Path(__file__).parent.parent
PLUGIN = '''
import jax
from jnas import methods, registry

@registry.RELAXATIONS.register
def warm(key, logits, progress, *, heat=2.0):
    """Softmax at a temperature."""
    return jax.nn.softmax(logits / heat, -1)

@registry.METHODS.register
def mine():
    """A row of my own."""
    return methods.Method("me", relaxation="warm", learning_rate=0.123)
'''
READ = """
import json, os, sys
from jnas import run, settings
from jnas.studies import flags as jflags, search_discrete, search_gradient, setup

FLAGS = jflags.define(setup.DataSettings, setup.SpaceSettings, getattr(
    *{"g": (search_gradient, "SearchSettings"),
      "d": (search_discrete, "DiscreteSettings")}[sys.argv[1]]), data="digits")
answers = []
for arguments in json.loads(sys.argv[2]):
    out = os.memfd_create("out")
    child = os.fork()
    if not child:
        os.dup2(out, 1), os.dup2(out, 2)
        sys.argv[1:] = ["--workdir=w", *arguments]
        run.launch(lambda: print(json.dumps(list(map(settings.to_json, FLAGS.read())))))
    os.waitpid(child, 0)
    answers.append(os.pread(out, 1 << 20, 0).decode())
print(json.dumps(answers))
"""


def read(kind, *lines):
    """What the flags of each line make: JSON of the settings, or the error."""
    done = subprocess.run(
        [sys.executable, "-c", READ, kind, json.dumps(lines)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(one) if one.startswith("[") else one
            for one in json.loads(done.stdout)]  # fmt: skip


@pytest.fixture(scope="module")
def gradient_flags():
    """Lines of a gradient search and what they were read as."""
    lines = {
        "nothing": [],
        "row": ["--method=pcdarts", "--partial=2", "--noedge_weights"],
        "options": ["--method=gdas", "--regularizers=zero_one,dirichlet_kl",
                    "--options=relaxation.start=5,regularizer.zero_one.strength=2"],
        "stages": ['--stages=[{"epochs_rate":0.25},{"epochs_rate":0.75,"partial":2}]'],
        "bad stages": ['--stages=[{"epoch_rate":0.25}]'],
        "no stages": ["--stages=3"],
        "bad option": ["--options=relaxation.start=5"],
        "bad slot": ["--options=relaxations.start=5"],
        "no seeds": ["--num_seeds=0"],
    }  # fmt: skip
    return dict(zip(lines, read("g", *lines.values()), strict=True))


def test_no_flag_gives_the_classes_defaults(gradient_flags):
    """And what the launcher changes of them."""
    images, space, search = gradient_flags["nothing"]
    assert images == settings.to_json(setup.DataSettings(data="digits"))
    assert space == settings.to_json(setup.SpaceSettings())
    wanted = search_gradient.SearchSettings(methods.darts())
    assert search == settings.to_json(wanted)


def test_a_flag_replaces_what_the_row_sets(gradient_flags):
    """All else stays the row's."""
    wanted = dataclasses.replace(methods.pcdarts(), partial=2, edge_weights=False)
    assert gradient_flags["row"][2]["method"] == settings.to_json(wanted)


def test_options_and_stages_reach_the_method(gradient_flags):
    """Each number of a piece has a flag, and so have stages."""
    found = gradient_flags["options"][2]["method"]
    name = "straight_through_winner"
    assert found["relaxation"] == {"name": name, "start": 5.0, "end": 0.1}
    assert found["regularizers"] == [
        {"name": "zero_one", "strength": 2.0},
        {"name": "dirichlet_kl", "strength": 0.001},
    ]
    stages = gradient_flags["stages"][2]["method"]["stages"]
    assert [(s["epochs_rate"], s["partial"]) for s in stages] == [(0.25, 1), (0.75, 2)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bad stages", "Did you mean 'epochs_rate'?"),
        ("no stages", "stages must be a JSON list of objects, got '3'"),
        (
            "bad option",
            "'start' for relaxation softmax. It has none; choose one that ha",
        ),
        ("bad slot", "got 'relaxations.start'. Did you mean 'relaxation'?"),
        ("no seeds", "--num_seeds must be a positive integer, got '0'"),
    ],
)
def test_wrong_values_are_refused_in_a_line(gradient_flags, line, words):
    """Before anything runs."""
    answer = gradient_flags[line]
    assert words in answer and answer.count("\n") == 1, answer


def test_controllers_take_options_too():
    """And num_proposals goes to those that have it."""
    found = read(
        "d",
        ["--options=controller.sample_size=5,trainer.num_proposals=2"],
        ["--controller=nsga2", "--options=controller.sample_size=5"],
    )
    assert found[0][2]["controller"]["sample_size"] == 5
    assert found[0][2]["trainer"] == {"name": "random_search", "num_proposals": 2}
    assert "'sample_size' for controller nsga2." in found[1]
    assert setup.controller("nsga2", (3, 4), num_objectives=2)
    with pytest.raises(ValueError, match="left out for controller nsga2, which has no"):
        setup.controller("nsga2", (3, 4), num_proposals=3)


@pytest.fixture(scope="module")
def helps(tmp_path_factory):
    """(launcher, *flags) -> its help."""
    folder = tmp_path_factory.mktemp("help")
    (folder / "mine.py").write_text(PLUGIN)
    names = [path.stem for path in sorted((ROOT / "experiments").glob("[a-z]*.py"))]
    lines = [(name, "--help") for name in names]
    lines += [
        ("search", "--help", "--method=pcdarts"),
        ("search", "--method=mine", "-h", "--plugins=mine.py"),
        ("search", "--method=none", "--help"),
    ]
    found = dict(zip(lines, forks.run([list(x) for x in lines], folder), strict=True))
    for line, answer in found.items():
        assert answer.status == 0 and not answer.err, (line, answer)
    return {line: " ".join(answer.out.split()) for line, answer in found.items()}


def test_every_launcher_prints_its_docstring_and_its_flags(helps):
    """With status 0, and every default."""
    for (name, *_), text in helps.items():
        doc = (ROOT / "experiments" / f"{name}.py").read_text().split('"""')[1]
        assert text.startswith(doc.splitlines()[0])
        assert "[no default]" in text or "[default: " in text
    text = helps["search", "--help"]
    at = [text.index(f"Flags ({group}):")
          for group in ("run", "data", "space", "method", "network",
                        "schedule")]  # fmt: skip
    assert at == sorted(at)
    assert "--workdir Run folder. Running the same command again resumes" in text
    assert "--shrink Downscale images by this integer factor" in text
    for name in ("epochs", "relaxation", "max_skips", "num_seeds", "checkpoint_steps"):
        assert f" --{name} " in text


def test_help_shows_the_numbers_that_a_row_sets(helps):
    """Beside DARTS' own, where they differ; a plug-in's row too."""
    text = helps["search", "--help", "--method=pcdarts"]
    assert "[pcdarts: 4; darts: 1]" in text and "[pcdarts: true; darts: false]" in text
    assert "[pcdarts: 256; darts: 64]" in text and "[pcdarts: 50]" in text
    assert "One of softmax, annealed_softmax, sigmoid, simplex, uniform," in text
    assert "hypergradient neumann: num_terms=5, step_size=0.01, " in text
    text = helps["search", "--method=mine", "-h", "--plugins=mine.py"]
    assert "[mine: 0.123; darts: 0.025]" in text and "relaxation warm: heat=2.0" in text
    assert "[mine: warm; darts: softmax]" in text


SPACE = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)


def small(**changes):
    """A search of seconds."""
    method = methods.Method(
        "me",
        epochs=1,
        batch_size=128,
        features=2,
        layers=1,
        watch_interval=0,
        **changes,
    )
    return search_gradient.SearchSettings(method)


def final_state(folder):
    """The SHA-256 of every array of the newest checkpoint, by name."""
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    manifest = json.loads((newest / "MANIFEST.json").read_text())
    return {leaf["name"]: leaf["sha256"] for leaf in manifest["leaves"]}


def test_a_run_is_repeated_from_its_run_json_alone(tmp_path):
    """Plug-in, pieces' numbers, seed and sizes: the same bits."""
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    registry.load_plugins([plugin])
    images = setup.DataSettings(data="digits", shrink=2)
    warm = registry.RELAXATIONS["warm"]
    bound = settings.from_json(
        methods.Method, {"source": "x", "relaxation": {"name": "warm", "heat": 3.0}}
    ).relaxation
    assert bound.func is warm
    search = small(relaxation=bound, logits_learning_rate=0.5)
    whole = settings.to_json(images) | settings.to_json(search)
    dataset = setup.dataset(images)
    with run.open_run(
        tmp_path / "first", seed=7, settings=whole, plugins=[plugin],
        data_digest=dataset.digest,
    ) as r:  # fmt: skip
        first = search_gradient.search_cells(r, dataset, SPACE, search)
    record = json.loads((tmp_path / "first" / "run.json").read_text())
    assert record["settings"]["method"]["relaxation"] == {"name": "warm", "heat": 3.0}
    assert record["settings"]["method"]["learning_rate"] == 0.025
    # from here on, nothing but the record is used
    again = tmp_path / "again.py"
    again.write_text(record["plugins"][0]["text"])
    registry.RELAXATIONS._entries.pop("warm"), registry.METHODS._entries.pop("mine")
    registry.load_plugins([again])
    with run.open_run(tmp_path / "second", seed=record["seed"]) as r:
        second = search_gradient.search_cells(
            r,
            setup.dataset(setup.settings_of(record, setup.DataSettings)),
            SPACE,
            setup.settings_of(record, search_gradient.SearchSettings),
        )
    assert (first.weights == second.weights).all()
    states = [final_state(tmp_path / name) for name in ("first", "second")]
    assert states[0] == states[1] and len(states[0]) > 10
    registry.RELAXATIONS._entries.pop("warm"), registry.METHODS._entries.pop("mine")
    with pytest.raises(ValueError, match="must hold the settings of RetrainSettings"):
        setup.settings_of(record, train_scratch.RetrainSettings)


def begin(folder, **how):
    """Starts a run, saves once, and is broken off; or goes on."""
    with run.open_run(folder, **how) as r:
        phase = r.phase("a", 3)
        done = phase.restore({"x": jnp.float32(0)})
        if done is None:
            phase.observe(1, {"x": jnp.float32(1)}, {})
            phase._save()
        return r.record.get("changes")


def test_runs_are_compared_by_settings_where_both_have_them(tmp_path):
    """Other flags for the same settings are no change; another number is, by name."""
    first = {"method": {"epochs": 3, "relaxation": {"name": "softmax"}}, "shrink": 1}
    begin(tmp_path / "a", flags={"method": "darts"}, settings=first)
    begin(tmp_path / "a", flags={"method": "darts", "epochs": 3}, settings=first)
    other = {"method": {"epochs": 4, "relaxation": {"name": "gumbel", "start": 1.0}},
             "shrink": 1}  # fmt: skip
    with pytest.raises(files.RunError) as refused:
        begin(tmp_path / "a", flags={"method": "darts"}, settings=other)
    for words in (
        "method.epochs: 3 -> 4",
        "relaxation.start: None -> 1.0",
        "relaxation.name: 'softmax' -> 'gumbel'",
        "--allow_changed",
    ):
        assert words in str(refused.value)
    changes = begin(tmp_path / "a", settings=other, allow_changed=True)
    assert "method.epochs: 3 -> 4" in changes


def test_a_run_of_0_1_is_compared_by_flags(tmp_path):
    """It has no settings; a list flag that was not given was None."""
    folder = tmp_path / "a"
    begin(folder, flags={"epochs": 3, "operations": None})
    record = json.loads((folder / "run.json").read_text())
    del record["settings"], record["plugins"]
    (folder / "run.json").write_text(json.dumps(record))
    new = {"epochs": 3, "operations": [], "shrink": 1}
    how = {"settings": {"epochs": 3}, "default_flags": ["shrink"]}
    begin(folder, flags=new, **how)
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(files.RunError, match="epochs: 3 -> 4; shrink: None -> 2"):
        begin(folder, flags={"epochs": 4, "shrink": 2}, settings={"epochs": 4})


def test_a_changed_plug_in_is_noticed(tmp_path):
    """Its text is compared, wherever the file lies."""
    plugin, moved = tmp_path / "mine.py", tmp_path / "moved.py"
    plugin.write_text("a = 1\n"), moved.write_text("a = 1\n")
    begin(tmp_path / "a", plugins=[plugin])
    kept = json.loads((tmp_path / "a" / "run.json").read_text())["plugins"]
    assert kept[0]["text"] == "a = 1\n" and len(kept[0]["sha256"]) == 64
    begin(tmp_path / "a", plugins=[moved])
    begin(tmp_path / "a", plugins=[plugin])
    plugin.write_text("a = 2\n")
    with pytest.raises(files.RunError, match=r"plug-in .*mine.py: sha256 \w{12} -> "):
        begin(tmp_path / "a", plugins=[plugin])
    with pytest.raises(files.RunError, match=r"sha256 \w{12} -> none"):
        begin(tmp_path / "a")
    changes = begin(tmp_path / "a", plugins=[plugin], allow_changed=True)
    assert len(changes) == 1 and "mine.py" in changes[0]


def test_random_streams_differ():
    """Each use of randomness folds a constant of its own into the run's key."""
    streams = {n: v for n, v in vars(keys).items() if n.isupper()}
    assert len(set(streams.values())) == len(streams) >= 5


def test_two_splits_are_made_once_and_share_nothing():
    """Every training image is in one of them, every class in both."""
    dataset = data.load("digits")
    train, valid = setup.two_splits(dataset, 0.25, seed=3)
    assert len(train[1]) + len(valid[1]) == len(dataset.y_train)
    assert abs(len(valid[1]) / len(dataset.y_train) - 0.25) < 0.01
    assert set(valid[1].tolist()) == set(train[1].tolist()) == set(range(10))
    again = setup.two_splits(dataset, 0.25, seed=3)
    assert (again[0][0] == train[0]).all()
