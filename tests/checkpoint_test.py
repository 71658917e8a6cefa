"""Tests of checkpoints: exact round trips, and every kind of damage seen."""

import json
import logging
import pathlib
import random
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas.run import checkpoint, files, manifest


class Carried(NamedTuple):
    """A state with a leaf of every kind."""

    params: dict
    opt_state: Any
    key: jax.Array
    keys: jax.Array
    step: jax.Array
    history: tuple
    nothing: None


def make(seed=0):
    """Returns a state; jittable."""
    key = jax.random.key(seed)
    params = {
        "a/b.c": jax.random.normal(key, (3, 4)),
        "half": jnp.array([1.5, -0.0, jnp.nan], jnp.bfloat16),
        "empty": jnp.zeros((0, 3), jnp.int8),
        "flag": jnp.array(True),
        "weak": jnp.asarray(2.5),
    }
    optimizer = optax.chain(optax.clip(1.0), optax.adam(1e-3))
    return Carried(
        params,
        optimizer.init({"w": params["a/b.c"]}),
        key,
        jax.random.split(jax.random.key(seed, impl="rbg"), (2, 2)),
        jnp.int32(-7),
        (),
        None,
    )


def assert_same(new, old):
    """Equal trees, types, dtypes, weak types and bits."""
    assert jax.tree.structure(new) == jax.tree.structure(old)
    for x, y in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True):
        assert isinstance(x, jax.Array)
        assert x.aval == y.aval  # shape, dtype and weak type
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with steps 10 and 20; copied by ``copy``."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    kept = checkpoint.Checkpoints(folder)
    kept.save(10, make(1), {"at": 10})
    kept.save(20, make(2), {"at": 20})
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of ``saved`` to damage."""
    shutil.copytree(saved, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


def test_a_state_comes_back_bit_by_bit(saved):
    """Keys, bfloat16, NaN, empty arrays, NamedTuples and None are what they were."""
    kept = checkpoint.Checkpoints(saved)
    assert kept.latest() == checkpoint.Sound(20, {"at": 20})
    assert_same(kept.load(20, jax.eval_shape(make)), make(2))
    assert_same(kept.load(10, make(5)), make(1))  # a state is its own description


def test_a_restored_state_can_be_donated_and_moved(saved):
    """It is not tied to a device, nor to memory that something else reads."""
    state = checkpoint.Checkpoints(saved).load(20, jax.eval_shape(make))
    again = jax.jit(lambda s: s._replace(step=s.step + 1), donate_argnums=0)(state)
    assert int(again.step) == -6
    assert not any(x.committed for x in jax.tree.leaves(again.params))


def damage_flip(path):
    """Flips one bit."""
    data = bytearray(path.read_bytes())
    where = random.Random(path.name).randrange(len(data) * 8)
    data[where // 8] ^= 1 << where % 8
    path.write_bytes(data)


def damage_truncate(path):
    """Cuts the last byte."""
    path.write_bytes(path.read_bytes()[:-1])


def damage_empty(path):
    """Leaves an empty file."""
    path.write_bytes(b"")


def damage_longer(path):
    """Adds a byte."""
    path.write_bytes(path.read_bytes() + b" ")


DAMAGES = [
    damage_flip,
    damage_truncate,
    damage_empty,
    damage_longer,
    pathlib.Path.unlink,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damage_in_any_file_is_seen_and_the_older_step_taken(copy, damage, caplog):
    """Each file of the newest step in turn; the warning names step and file."""
    paths = [p for p in (copy / "20").rglob("*") if p.is_file() and p.stat().st_size]
    assert len(paths) >= 5
    for path in paths:
        before = path.read_bytes()
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="absl"):
            damage(path)
            assert checkpoint.Checkpoints(copy).latest().step == 10, path
        name = path.relative_to(copy / "20").as_posix()
        assert f"checkpoint 20 is damaged ({name}: " in caplog.text
        path.write_bytes(before)
    assert checkpoint.Checkpoints(copy).latest().step == 20


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", "{}", '{"sha256": 1}', '{"sha256": 1, "files": {}}']
)
def test_a_manifest_that_is_none_is_seen(copy, text):
    """Bad JSON, and JSON of another kind."""
    (copy / "20" / manifest.NAME).write_text(text)
    assert checkpoint.Checkpoints(copy).latest().step == 10


def test_a_flipped_bit_of_a_manifest_is_seen(copy):
    """Spaces and names included: the file is compared with the only valid text."""
    path = copy / "20" / manifest.NAME
    data = path.read_bytes()
    for byte in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[byte] ^= 1 << byte % 8
        path.write_bytes(flipped)
        with pytest.raises(manifest.Damaged):
            manifest.read(path.parent)


def test_a_step_under_a_wrong_name_is_seen(copy):
    """A renamed folder is not a newer checkpoint."""
    (copy / "20").rename(copy / "30")
    assert checkpoint.Checkpoints(copy).latest().step == 10


def test_none_sound_is_an_error_and_nothing_is_removed(copy):
    """A run never starts over in silence."""
    for step in ("10", "20"):
        damage_truncate(copy / step / manifest.NAME)
    with pytest.raises(files.RunError, match="must include an undamaged one, got none"):
        checkpoint.Checkpoints(copy).latest()
    assert checkpoint.Checkpoints(copy).steps() == [10, 20]


def test_saving_goes_on_over_a_damaged_step(copy):
    """After a walk back the damaged step is replaced, and not counted as kept."""
    damage_flip(next((copy / "20" / "state").rglob("manifest.ocdbt")))
    kept = checkpoint.Checkpoints(copy)
    assert kept.latest().step == 10
    kept.save(15, make(3), {})
    assert kept.steps() == [10, 15]
    kept.save(20, make(4), {"new": True})
    assert kept.steps() == [15, 20] and kept.latest().note == {"new": True}


def test_two_stay_and_a_half_written_one_does_not_count(tmp_path):
    """What a killed process left behind is removed by the next."""
    kept = checkpoint.Checkpoints(tmp_path)
    for step in (1, 2, 3):
        kept.save(step, {"x": jnp.int32(step)}, {})
    (tmp_path / ".tmp-9" / "state").mkdir(parents=True)
    assert checkpoint.Checkpoints(tmp_path).latest().step == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]


def test_a_note_is_replaced_and_the_state_stays(copy):
    """As a phase's end does."""
    kept = checkpoint.Checkpoints(copy)
    kept.amend(20, results={"x": 1})
    assert kept.latest().note == {"at": 20, "results": {"x": 1}}
    assert_same(kept.load(20, jax.eval_shape(make)), make(2))


def test_a_save_without_arrays_is_a_note(tmp_path):
    """A phase that carries nothing has a checkpoint too."""
    kept = checkpoint.Checkpoints(tmp_path)
    kept.save(3, None, {"a": 1})
    assert kept.latest() == checkpoint.Sound(3, {"a": 1})
    assert kept.load(3, None) is None


def test_a_failed_save_leaves_the_last_step_and_says_where(copy, monkeypatch):
    """As on a full disk: path, reason and free bytes in one line."""

    def full(*_):
        raise OSError(28, "No space left on device")

    kept = checkpoint.Checkpoints(copy)
    monkeypatch.setattr(manifest, "write", full)
    with pytest.raises(files.RunError, match=r"No space left.*/30'.*bytes free"):
        kept.save(30, make(), {})
    assert sorted(p.name for p in copy.iterdir()) == ["10", "20"]
    assert kept.latest().step == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": jnp.float32(0)}, r"step float32\[\] where.* has step int32\[\]"),
        ({"step": jnp.zeros(2, jnp.int32)}, r"step int32\[2\]"),
        ({"history": (jnp.zeros(1),)}, r"got history.0 float32\[1\]"),
        ({"history": jnp.zeros(1)}, r"has nothing|got history"),
        ({"key": jax.random.key(0, impl="rbg")}, r"got key key<rbg>\[\]"),
    ],
)
def test_another_tree_is_refused_by_its_first_leaf(saved, change, message):
    """A changed program is told which array changed."""
    abstract = jax.eval_shape(lambda: make()._replace(**change))
    with pytest.raises(files.RunError, match=message):
        checkpoint.Checkpoints(saved).load(20, abstract)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (3, "state.a.0 must be an array, got int"),
        (np.float64(3), "a dtype that JAX keeps, got float64. Use float32"),
        (np.arange(3), "got int64. Use int32"),
        (jnp.broadcast_to(jnp.asarray(1.0), 3), "a strong type, got a weak one"),
    ],
)
def test_what_would_come_back_changed_is_refused(tmp_path, leaf, message):
    """Before anything is written."""
    with pytest.raises(files.RunError, match=message):
        checkpoint.Checkpoints(tmp_path / "c").save(1, {"a": [leaf]}, {})
    assert not (tmp_path / "c").exists()


def test_a_donated_state_is_refused(tmp_path):
    """With the name of the leaf, instead of a deleted buffer somewhere inside."""
    state = {"x": jnp.zeros(3)}
    state["x"].delete()
    with pytest.raises(files.RunError, match="state.x must not be donated"):
        checkpoint.Checkpoints(tmp_path).save(1, state, {})


def test_fewer_than_two_is_refused(tmp_path):
    """One alone could be damaged."""
    with pytest.raises(ValueError, match="keep must be at least 2, got 1"):
        checkpoint.Checkpoints(tmp_path, keep=1)


def test_manifests_are_readable_json(saved):
    """For people and other programs."""
    body = json.loads((saved / "20" / manifest.NAME).read_text())
    assert body["step"] == 20 and "state/manifest.ocdbt" in body["files"]
    assert {"name": "step", "shape": [], "dtype": "int32"}.items() <= [
        leaf for leaf in body["leaves"] if leaf["name"] == "step"
    ][0].items()
