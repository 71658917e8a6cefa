"""Files of a model: each checked in its runtime, none left where the check fails."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import forks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import export, models, networks
from jnas.data import task as task_lib
from jnas.export import formats, packages, stablehlo, tflite
from jnas.models import learned as learned_lib
from jnas.spaces import genotype_text, published

CELL = "|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


def made(genotype, size, *, dtype="float32", unit="uint8", side=8):
    """Builds a model whose weights and statistics are not the initial ones."""
    architecture = models.of_genotype(genotype, size, dtype=dtype)
    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        # compiling an initialisation takes longer than the tests
        if path[-1].key != "kernel":
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        deviation = np.prod(leaf.shape[:-1]) ** -0.5
        return rng.normal(0, deviation, leaf.shape).astype(np.float32)

    like = jax.eval_shape(architecture.network.init, jax.random.key(0))
    trees = jax.tree_util.tree_map_with_path(drawn, like)
    shape = (side, side, size.channels)
    how = models.Preprocessing(
        shape, unit, (0.4,) * shape[2], (0.3,) * shape[2], 0, 255
    )
    return models.Model(architecture, *trees, how)


def nasbench(text=CELL):
    """Returns a genotype of NAS-Bench-201."""
    return genotype_text.parse(text, space="nasbench201")


@pytest.fixture(scope="module")
def model():
    """A small network on 8x8 pixels, whose equal cells jnas computes in a loop."""
    return made(nasbench(), networks.Size(2, 2, 5))


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """Its folder."""
    folder = tmp_path_factory.mktemp("export")
    models.save(folder / "model", model)
    return folder


@pytest.mark.parametrize("name", ["stablehlo", "tflite", "onnx"])
def test_each_format_gives_the_logits_of_jnas(model, tmp_path, name):
    """On images that the check did not use; nothing else is left in the folder."""
    needs = {"tflite": ["litert_converter", "ai_edge_litert"], "onnx": ["onnxruntime"]}
    for package in needs.get(name, []):
        pytest.importorskip(package)
    path = tmp_path / "file"
    found = export.export(model, name, path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert found.bytes == path.stat().st_size and not found.unchecked
    assert found.difference <= 1e-5 * max(1, found.largest_logit) and found.ms > 0
    raw = np.random.default_rng(5).integers(0, 256, (3, 8, 8, 3)).astype(np.float32)
    got = np.asarray(formats.FORMATS[name].read(path, model)(raw))
    np.testing.assert_allclose(got, model.logits(raw), rtol=0, atol=1e-5)


_NUMBERS = 50 + 9 * np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
TARGETS = {
    "regression": _NUMBERS[:, 0],
    "regression of three": _NUMBERS,
    "multilabel": np.float32(_NUMBERS > 50),
}


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("name", ["stablehlo", "tflite", "onnx"])
def test_each_format_gives_the_answer_of_the_task(tmp_path, name, task):
    """In the targets' own unit: one number, several, probabilities."""
    needs = {"tflite": ["litert_converter", "ai_edge_litert"], "onnx": ["onnxruntime"]}
    for package in needs.get(name, []):
        pytest.importorskip(package)
    kind, y = task.split()[0], TARGETS[task]
    learned = learned_lib.Learned(kind, task_lib.describe(y))
    model = made(nasbench(), networks.Size(2, 1, learned.task.num_outputs))
    model = dataclasses.replace(model, learned=learned)
    path = tmp_path / "file"
    assert not export.export(model, name, path).unchecked
    raw = np.random.default_rng(5).integers(0, 256, (3, 8, 8, 3)).astype(np.float32)
    got = np.asarray(formats.FORMATS[name].read(path, model)(raw))
    wanted = next(iter(model.predict(raw).values()))
    assert got.shape == wanted.shape == (3, *y.shape[1:])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_weights_alone_are_those_of_another_task_too(tmp_path):
    """Compared in the targets' unit; bfloat16 keeps the task."""
    learned = learned_lib.Learned(
        "regression", task_lib.describe(TARGETS["regression"])
    )
    for dtype in ("float32", "bfloat16"):
        model = made(
            published.genotype("DARTS_V2"), networks.Size(2, 3, 1), dtype=dtype
        )
        model = dataclasses.replace(model, learned=learned)
        found = export.export(model, "safetensors", tmp_path / "file")
        assert found.difference <= 1e-5 * max(1, found.largest_logit)
        assert found.same_class is None and found.largest_logit > 30


def test_tflite_has_native_windows(tmp_path):
    """Lowered for an accelerator: one operation a convolution and a pool, no products.

    The file's batch is fixed.
    """
    pytest.importorskip("litert_converter")
    pytest.importorskip("ai_edge_litert")
    model = made(published.genotype("DARTS_V2"), networks.Size(2, 3, 5))
    path = tmp_path / "file"
    tflite.write(path, model.function(), (8, 8, 3), batch_size=2)
    details = tflite._interpreter(path.read_bytes())._get_ops_details()
    names = [one["op_name"] for one in details]
    # five sep_conv and a dil_conv of the one normal cell
    assert names.count("DEPTHWISE_CONV_2D") == 5 * 2 + 1
    assert not [name for name in names if "REDUCE_WINDOW" in name]
    raw = np.random.default_rng(5).integers(0, 256, (4, 8, 8, 3)).astype(np.float32)
    got = tflite.read(path)(raw)
    np.testing.assert_allclose(got, model.logits(raw), rtol=0, atol=1e-5)


def test_the_three_lines_of_the_docstring(model, tmp_path):
    """jax alone reads a StableHLO file, for CPU, CUDA and TPU, any number of images."""
    path = tmp_path / "model.stablehlo"
    stablehlo.write(path, model.function(), (8, 8, 3))
    lines = [line for line in stablehlo.__doc__.splitlines() if line[:4] == " " * 4]
    code = "\n".join(line.strip() for line in lines)
    images = np.random.default_rng(5).integers(0, 256, (3, 8, 8, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    code = f"import numpy\nimages = numpy.load('images.npy')\n{code}"
    code += "\nimport sys; assert 'jnas' not in sys.modules"
    code += "\nprint(*program.platforms); numpy.save('logits.npy', logits)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["cpu", "cuda", "tpu"]
    got = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(got, model.logits(images), rtol=0, atol=1e-5)
    (tmp_path / "bad").write_bytes(b"no program")
    with pytest.raises(ValueError, match="must be a file of jax.export"):
        stablehlo.read(tmp_path / "bad")


def wrong(monkeypatch, factor):
    """Makes every StableHLO program multiply its logits."""
    right = formats.FORMATS["stablehlo"]

    def write(path, model, batch_size, calibration):
        function = model.function()
        stablehlo.write(path, lambda x: function(x) * factor, (8, 8, 3))

    monkeypatch.setitem(formats.FORMATS, "stablehlo", right._replace(write=write))


def test_numbers_of_unlike_sizes_are_compared_each_by_itself(tmp_path, monkeypatch):
    """A wrong age is found beside a price in millions."""
    y = _NUMBERS[:, :2] * np.array([1, 1e5], np.float32)
    learned = learned_lib.Learned("regression", task_lib.describe(y))
    model = made(nasbench(), networks.Size(2, 1, 2))
    model = dataclasses.replace(model, learned=learned)
    export.export(model, "stablehlo", tmp_path / "file")
    wrong(monkeypatch, np.array([1.01, 1], np.float32))
    with pytest.raises(ValueError, match="outputs of .* within 1e-05 .of their"):
        export.export(model, "stablehlo", tmp_path / "file")


@pytest.mark.parametrize("factor", [1 + 1e-3, jnp.nan])
def test_a_failed_check_leaves_no_file(model, tmp_path, monkeypatch, factor):
    """An older file stays as it was."""
    wrong(monkeypatch, factor)
    path = tmp_path / "file"
    path.write_bytes(b"older")
    with pytest.raises(
        ValueError, match="in jax.export, got a difference of .*deleted"
    ):
        export.export(model, "stablehlo", path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"older"]


def test_the_tolerance_is_of_the_largest_logit(model, tmp_path, monkeypatch):
    """3e-6 of logits above 1 is more than 1e-5, and passes; 1e-4 does not."""
    large = model.stats | {}
    params = jax.tree.map(lambda a: a, model.params)
    params["classifier"] = jax.tree.map(lambda a: a * 1000, params["classifier"])
    loud = models.Model(model.architecture, params, large, model.preprocessing)
    wrong(monkeypatch, 1 + 3e-6)
    found = export.export(loud, "stablehlo", tmp_path / "file")
    assert found.difference > 1e-5 and found.largest_logit > 10
    wrong(monkeypatch, 1 + 1e-4)
    with pytest.raises(ValueError, match="deleted"):
        export.export(loud, "stablehlo", tmp_path / "file")


def test_a_missing_runtime_is_said(model, tmp_path, monkeypatch):
    """The file is written, not checked; without a writer there is an error.

    Both have the command to run.
    """
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    pytest.importorskip("onnx")
    found = export.export(model, "onnx", tmp_path / "file")
    assert "pip install 'onnxruntime" in found.unchecked and found.difference is None
    assert found.bytes == (tmp_path / "file").stat().st_size
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(packages.MissingPackage, match="pip install 'onnx>="):
        export.export(model, "onnx", tmp_path / "other")
    monkeypatch.setitem(sys.modules, "litert_converter.converter_api_ext", None)
    with pytest.raises(packages.MissingPackage, match="--no-deps litert-converter=="):
        export.export(model, "tflite", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_random_images_are_in_the_models_own_unit(model):
    """Whole numbers of 0 to 255, or the range of the training images."""
    images = formats.raw_images(model, 3)
    assert images.shape == (3, 8, 8, 3) and images.dtype == np.float32
    assert (images == np.round(images)).all() and images.max() > 250
    how = models.Preprocessing((8, 8, 3), "float32", (0.0,) * 3, (1.0,) * 3, -2, 3)
    own = models.Model(model.architecture, model.params, model.stats, how)
    images = formats.raw_images(own, 3)
    assert -2 <= images.min() < -1.9 and 2.9 < images.max() <= 3


def test_bfloat16_activations_become_float32(tmp_path):
    """The file computes in float32, and is compared with jnas in float32."""
    model = made(nasbench(), networks.Size(2, 1, 5), dtype="bfloat16")
    found = export.export(model, "stablehlo", tmp_path / "file")
    raw = formats.raw_images(model, 2)
    got = np.asarray(stablehlo.read(tmp_path / "file")(raw))
    plain = made(nasbench(), networks.Size(2, 1, 5))
    assert found.difference <= 1e-5
    np.testing.assert_allclose(got, plain.logits(raw), rtol=0, atol=1e-5)


def test_an_operation_that_draws(tmp_path):
    """No program of ONNX or LiteRT draws what JAX draws: refused in one line."""
    noisy = made(
        nasbench(CELL.replace("avg_pool_3x3", "noise")), networks.Size(2, 1, 5)
    )
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match="must not draw random numbers"):
        export.export(noisy, "onnx", tmp_path / "file")
    with pytest.raises(ValueError, match="one of DARTS' PyTorch network"):
        export.export(noisy, "safetensors", tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_the_command(saved):
    """Prints the path, a sentence and one JSON object."""
    flags = ["--model=model", "--format=stablehlo", "--out=m.bin"]
    done = forks.launch("export", *flags, cwd=saved)
    assert done.status == 0, done.err
    path, sentence, line = done.out.splitlines()
    fields = json.loads(line)
    assert pathlib.Path(path) == saved / "m.bin" and fields["runtime"] == "jax.export"
    assert f"{fields['bytes']:,} bytes. Logits differ by at most" in sentence
    assert not done.err


@pytest.mark.parametrize(
    ("flags", "message", "status"),
    [
        (["--format=onx"], "Did you mean 'onnx'?", 2),
        (["--format=onnx", "--int8"], "format must be tflite for --int8", 1),
        (["--format=onnx", "--batch_size=2"], "must be tflite for --batch_size", 1),
        (["--format=tflite", "--int8"], "got --int8 alone", 1),
        (["--format=tflite", "--data=digits"], "got --data alone", 1),
        (["--format=onnx", "--out=no/where"], "out must be a file in an existing", 1),
        (["--format=safetensors"], "must be one of DARTS' PyTorch network", 1),
    ],
)
def test_wrong_flags(saved, flags, message, status):
    """One line, nothing written."""
    given = ["--model=model", "--out=other", *flags]
    done = forks.launch("export", *given, cwd=saved)
    assert done.status == status and message in done.err
    assert done.err.count("\n") == 1 and not (saved / "other").exists()


NASBENCH = (
    CELL,
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|"
    "nor_conv_3x3~2|",
    "|avg_pool_3x3~0|+|none~0|avg_pool_3x3~1|+|nor_conv_1x1~0|none~1|skip_connect~2|",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*published.cells(), *NASBENCH])
def test_published_networks(name, tmp_path):
    """ONNX, LiteRT and torch's names give the logits of jnas, to 1e-5."""
    for package in ("onnxruntime", "litert_converter", "ai_edge_litert"):
        pytest.importorskip(package)
    known = name in published.cells()
    genotype = published.genotype(name) if known else nasbench(name)
    model = made(genotype, networks.Size(2, 3 if known else 2, 10))
    raw = np.random.default_rng(5).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    want = model.logits(raw)
    for format_name in ("onnx", "tflite"):
        how, path = formats.FORMATS[format_name], tmp_path / format_name
        how.write(path, model, 1, None)
        got = how.read(path, model)(raw)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    if known:
        state = export.to_torch(*formats.cells(model), model.params, model.stats)
        found = export.from_torch(state, genotype)
        for tree, again in zip((model.params, model.stats), found[1:], strict=True):
            jax.tree.map(np.testing.assert_array_equal, tree, again)
