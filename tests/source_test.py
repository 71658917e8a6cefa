"""Tests of images on disk: what is read when needed equals what is held in memory."""

import dataclasses
import os
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jnas import caches, data
from jnas.data import facts, npz, residence, source, validate

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder of one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jnas" / "data"


def arrays(dtype=np.uint8, axes=4):
    """Twenty images of two classes, and eight of a test split."""
    x = RNG.integers(0, 256, (28, 6, 4, 3)[:axes]).astype(dtype)
    y = np.arange(28) % 2
    return dict(x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])


def npz_of(folder, **how):
    """Writes an npz file; returns what --data names it by."""
    np.savez(folder / "set.npz", **arrays(**how), class_names=np.array(["a", "b"]))
    return f"npz:{folder / 'set.npz'}"


def npy_of(folder, **how):
    """Writes a folder of npy files."""
    (folder / "set").mkdir()
    for name, array in arrays(**how).items():
        np.save(folder / "set" / f"{name}.npy", array)
    return f"npy:{folder / 'set'}"


def pictures_of(folder, sizes=((6, 4),)):
    """Writes grey and coloured pictures, some transparent, of two classes."""
    for i in range(12):
        place = folder / "photos" / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        mode = ("L", "RGB", "RGBA")[i % 3]
        shape = (*sizes[i % len(sizes)], len(mode))
        pixels = RNG.integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels.squeeze(-1) if mode == "L" else pixels).save(
            place / f"{i}.png"
        )
    return f"folder:{folder / 'photos'}"


def both(spec):
    """Loads a data set in memory, and to be read when needed."""
    held = data.load(spec)
    with residence.over("no"):
        return held, data.load(spec)


def same(held, lazy):
    """Checks that two data sets are equal, and that one is lazy."""
    assert not source.is_lazy(held.x_train) and source.is_lazy(lazy.x_train)
    assert lazy.facts == held.facts and lazy.notes == held.notes
    rows = np.array([3, 0, 3, len(held.y_train) - 1])
    for name in ("x_train", "x_test"):
        own, other = getattr(held, name), getattr(lazy, name)
        assert other.shape == own.shape and other.dtype == own.dtype
        np.testing.assert_array_equal(other[:], own)
        np.testing.assert_array_equal(other[1], own[1])
        np.testing.assert_array_equal(jnp.asarray(other), own)
        picked = rows % len(own)
        np.testing.assert_array_equal(other[picked], own[picked])
    np.testing.assert_array_equal(lazy.y_train, held.y_train)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("axes", [3, 4])
@pytest.mark.parametrize("write", [npz_of, npy_of])
def test_arrays_on_disk_are_the_arrays(tmp_path, write, axes, dtype):
    """Of npz and npy, with and without an axis of channels; facts agree too."""
    held, lazy = both(write(tmp_path, dtype=dtype, axes=axes))
    same(held, lazy)
    assert isinstance(lazy.x_train, np.memmap)
    same(data.shrink(held, 2), data.shrink(lazy, 2))


def test_columns_first_is_mapped_too(tmp_path):
    """NumPy writes such arrays as they lie in memory."""
    own = arrays(np.float32)
    own["x_train"] = np.asfortranarray(own["x_train"] / 7)
    own["x_train"] = np.asfortranarray(own["x_train"].astype(np.float32))
    np.savez(tmp_path / "set.npz", **own)
    held, lazy = both(f"npz:{tmp_path / 'set.npz'}")
    same(held, lazy)
    same(data.shrink(held, 2), data.shrink(lazy, 2))  # means follow no order in memory


def test_pictures_are_decoded_when_needed(tmp_path):
    """Grey, colours and transparency; resized where a size is given."""
    same(*both(pictures_of(tmp_path)))
    same(*both(f"folder:{tmp_path / 'photos'}?size=5x3&background=black"))


def test_pictures_of_two_sizes_are_refused_lazily_too(tmp_path):
    """Before anything runs, with the two files' names."""
    spec = pictures_of(tmp_path, sizes=((6, 4), (6, 4), (5, 4)))
    with residence.over("no"), pytest.raises(ValueError, match="must have one size"):
        data.load(spec)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e38])
def test_bad_values_are_found_lazily_too(tmp_path, bad):
    """With the number of the image, as in memory."""
    own = arrays(np.float32)
    own["x_test"][5, 2, 1, 0] = bad
    np.savez(tmp_path / "set.npz", **own)
    said = []
    for resident in ("yes", "no"):
        with residence.over(resident), pytest.raises(ValueError, match="image 5") as e:
            data.load(f"npz:{tmp_path / 'set.npz'}")
        said.append(str(e.value))
    assert said[0] == said[1]


def test_compressed_images_are_held_with_a_note(tmp_path):
    """They cannot be mapped."""
    np.savez_compressed(tmp_path / "set.npz", **arrays())
    held, lazy = both(f"npz:{tmp_path / 'set.npz'}")
    assert not source.is_lazy(lazy.x_train) and held.digest == lazy.digest
    assert "compressed, so all are held in memory" in lazy.notes[0]


def test_facts_are_read_once_and_again_after_a_change(tmp_path, cache, monkeypatch):
    """The kept facts serve until size or time of the file differ."""
    spec = npz_of(tmp_path)
    passes = []
    gather = facts.gather

    def counted(*args, **how):
        passes.append(1)
        return gather(*args, **how)

    monkeypatch.setattr(facts, "gather", counted)
    with residence.over("no"):
        first = data.load(spec)
        assert data.load(spec).facts == first.facts and len(passes) == 1
        time = os.stat(tmp_path / "set.npz").st_mtime_ns
        (tmp_path / "set.npz").write_bytes((tmp_path / "set.npz").read_bytes())
        os.utime(tmp_path / "set.npz", ns=(time, time))  # ctime tells nevertheless
        assert data.load(spec).facts == first.facts and len(passes) == 2
        for kept in cache.iterdir():
            kept.write_text("{")
        assert data.load(spec).facts == first.facts and len(passes) == 3
    changed = dataclasses.replace(first, x_train=first.x_train[::-1])
    assert changed.identity is None and changed.digest != first.digest


def test_facts_without_a_cache_folder(tmp_path, monkeypatch):
    """They are computed each time, and nothing fails."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert facts.kept("x", lambda: [1, "a"]) == [1, "a"]

    def homeless(name):
        raise RuntimeError("no home folder")

    monkeypatch.setattr(caches, "folder", homeless)
    assert facts.kept("x", lambda: {"a": 2.5}) == {"a": 2.5}


def test_parallel_reads_keep_their_order_and_their_errors():
    """As many as are decoded by threads; an error is the function's own."""
    rows = RNG.permutation(4 * source.FEW)

    def image(row):
        if row == 77:
            raise ValueError("row 77 is damaged")
        return np.full((2, 2, 1), row, np.uint8)

    images = source.decoded(image, (len(rows), 2, 2, 1))
    np.testing.assert_array_equal(
        images[rows[rows != 77]][:, 0, 0, 0], rows[rows != 77].astype(np.uint8)
    )
    with pytest.raises(ValueError, match="row 77 is damaged"):
        images[rows]
    with pytest.raises(ValueError, match=r"one size, got \(2, 2, 1\) and \(3, 2, 1\)"):
        source.decoded(lambda row: np.zeros((3, 2, 1)), (4, 2, 2, 1))[:2]


@pytest.mark.parametrize(
    "found",
    [
        np.zeros((3, 4, 6, 3), np.float32),
        np.zeros((3, 6, 4, 3), np.uint8),
        np.zeros((2, 4, 6, 3), np.uint8),
    ],
)
def test_what_a_function_reads_is_checked(found):
    """Another type, other axes, another number of images."""
    images = data.Read(lambda rows: found, (9, 4, 6, 3))
    with pytest.raises(
        ValueError, match=r"must be read as uint8 of shape \(3, 4, 6, 3"
    ):
        images[:3]


def test_rows_are_those_of_an_array():
    """Numbers from the end, and a mask; others are refused."""
    held = RNG.integers(0, 256, (9, 4, 4, 1), np.uint8)
    images = data.Read(lambda rows: held[rows], held.shape)
    mask = np.arange(9) % 2 == 0
    for rows in (-1, np.array([-1, 3]), mask, slice(-3, None), np.array([], int)):
        np.testing.assert_array_equal(images[rows], held[rows])
    for wrong in (np.array([9]), np.array([0.5]), mask[:3], np.array([[1]])):
        with pytest.raises(IndexError, match="rows must be"):
            images[wrong]


def test_a_users_source_of_three_axes_is_grey():
    """As an array of three axes is; and its facts are those of the array."""
    own = arrays(axes=3)
    lazy = {k: data.Read(v.__getitem__, v.shape) for k, v in own.items() if k[0] == "x"}
    same(
        validate.validate(**own, name="mine"),
        validate.validate(**own | lazy, name="mine"),
    )


def test_auto_holds_what_takes_a_quarter_of_a_memory():
    """Of a device, or of this machine."""
    assert residence.fits(25, 100) and not residence.fits(26, 100)
    assert residence.fits(residence.machine_bytes() // 4)
    with residence.over("yes"):
        assert residence.fits(1 << 60)
    with pytest.raises(ValueError, match="resident must be one of auto, yes, no"):
        with residence.over("Yes"):
            pass
    with pytest.raises(ValueError, match="chunk_steps must be at least 1, got 0"):
        with residence.over("no", chunk_steps=0):
            pass


def test_a_mapped_array_that_is_cut_off_is_refused(tmp_path):
    """Its header promises more than the file holds."""
    spec = npy_of(tmp_path)
    file = tmp_path / "set" / "x_train.npy"
    file.write_bytes(file.read_bytes()[:-50])
    with residence.over("no"), pytest.raises(ValueError, match="must be readable npy"):
        data.load(spec)
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("x_train.npy", file.read_bytes())
    with pytest.raises(ValueError, match="it is cut off"):
        npz.mapped(tmp_path / "set.npz", "x_train")


@pytest.mark.parametrize("missing", ["x_test", "y_train"])
def test_a_folder_without_an_array_is_refused(tmp_path, missing):
    """With the name of the array."""
    spec = npy_of(tmp_path)
    (tmp_path / "set" / f"{missing}.npy").unlink()
    with pytest.raises(ValueError, match=f"without {missing}. Add the array"):
        data.load(spec)
