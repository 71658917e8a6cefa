"""Tests of one picture: pixels as a viewer shows them, or a refusal that names it."""

import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jnas.data import picture

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7), np.uint8)
DEEP = np.linspace(0, 65535, 35).astype(np.uint16).reshape(5, 7)


def save(tmp_path, image, name="a.png", **how):
    """Writes an image; returns its path."""
    path = tmp_path / name
    image.save(path, **how)
    return path


def png(path, depth, kind, rows):
    """Writes a PNG by hand, for depths and kinds that Pillow does not write."""

    def chunk(name, body):
        crc = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + crc

    bits = {0: 1, 2: 3, 4: 2}[kind] * depth
    header = struct.pack(">IIBBBBB", len(rows[0]) * 8 // bits, len(rows), depth, kind,
                         0, 0, 0)  # fmt: skip
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.jp2"])
def test_grey_of_16_bits_is_scaled_exactly(tmp_path, name):
    """v / 257 to the nearest: 65,535 is 255, one channel, in each lossless format."""
    path = save(tmp_path, Image.fromarray(DEEP), name)
    wanted = np.floor(DEEP / 257 + 0.5)  # float64 is exact here: 257 is odd, no ties
    read = picture.read(path)
    np.testing.assert_array_equal(read.pixels[..., 0], wanted)
    assert read.pixels.shape == (5, 7, 1) and read.pixels.dtype == np.uint8
    assert read.pixels.max() == 255 and read.largest == 65535


def test_every_value_of_16_bits():
    """All 65,536 values, against division in exact integers."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    wanted = [(2 * v + 257) // 514 for v in range(65536)]
    found = picture._deep(Image.fromarray(values), {}, 255)
    assert found.pixels.reshape(-1).tolist() == wanted


def tiff(path, values, bits, photometric, order="<"):
    """Writes a TIFF of one strip by hand."""
    rows, columns = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2)
        data = b"".join(
            bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs.tolist()
        )
    else:
        data = values.astype(f"{order}u2").tobytes()
    tags = {256: columns, 257: rows, 258: bits, 259: 1, 262: photometric,
            273: 8, 277: 1, 278: rows, 279: len(data)}  # fmt: skip
    body = struct.pack(f"{order}H", len(tags))
    for tag, value in tags.items():
        body += struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    where = struct.pack(f"{order}I", 8 + len(data))
    path.write_bytes(magic + where + data + body + bytes(4))
    return path


def test_tiff_of_12_bits_big_endian_and_white_is_zero(tmp_path):
    """Depth, byte order and photometric interpretation are what a viewer follows."""
    twelve = (np.arange(24).reshape(4, 6) * 178).astype(np.uint16)  # to 4,094
    read = picture.read(tiff(tmp_path / "a.tif", twelve, 12, 1))
    np.testing.assert_array_equal(
        read.pixels[..., 0], np.floor(twelve * (255 / 4095) + 0.5)
    )
    deep = np.array([[0, 65535], [257, 514]], np.uint16)
    read = picture.read(tiff(tmp_path / "b.tif", deep, 16, 1, ">"))
    assert read.pixels[..., 0].tolist() == [[0, 255], [1, 2]]
    read = picture.read(tiff(tmp_path / "c.tif", deep, 16, 0))
    assert read.pixels[..., 0].tolist() == [[255, 0], [254, 253]]


@pytest.mark.parametrize("kind", [0, 2, 4])
def test_png_of_other_depths(tmp_path, kind):
    """Colours and grey with opacity of 16 bits, and grey of 1, 2 and 4 bits."""
    path = tmp_path / "a.png"
    if kind == 2:
        row = np.array([[0, 65535, 257 * 9]], ">u2").tobytes()
        assert picture.read(png(path, 16, 2, [row])).pixels.tolist() == [[[0, 255, 9]]]
    elif kind == 4:  # a grey of 257 * 100 that lets half of a white page through
        row = np.array([257 * 100, 257 * 128], ">u2").tobytes()
        read = picture.read(png(path, 16, 4, [row]))
        assert read.pixels.tolist() == [[[(100 * 128 + 255 * 127 + 127) // 255]]]
        assert read.transparent
    else:
        for depth, packed in ((1, 0b01000000), (2, 0b00011011), (4, 0x4F)):
            read = picture.read(png(path, depth, 0, [bytes([packed])]))
            most = 2**depth - 1
            wanted = [
                255 * ((packed >> (8 - depth * (i + 1))) & most) // most
                for i in range(8 // depth)
            ]
            assert read.pixels[0, :, 0].tolist() == wanted


TURNS = {  # EXIF orientation: how stored pixels become shown ones (EXIF 2.3, 4.6.4)
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(
    ("name", "pixels"),
    [("a.png", COLOUR), ("a.png", DEEP), ("a.tif", COLOUR), ("a.tif", GREY),
     ("a.webp", COLOUR)],
)  # fmt: skip
def test_orientation_is_applied_once(tmp_path, turn, name, pixels):
    """All eight orientations, of colours, grey and 16 bits."""
    exif = Image.Exif()
    exif[0x0112] = turn
    how = dict(lossless=True) if name == "a.webp" else {}
    path = save(tmp_path, Image.fromarray(pixels), name, exif=exif, **how)
    shown = pixels if pixels is not DEEP else np.floor(DEEP / 257 + 0.5)
    found = picture.read(path).pixels
    np.testing.assert_array_equal(found.squeeze(), TURNS[turn](shown))


@pytest.mark.parametrize("background", picture.BACKGROUNDS)
@pytest.mark.parametrize("grey", [True, False])
def test_transparency_shows_the_background(tmp_path, background, grey):
    """c a + b (1 - a), rounded; grey stays grey; opaque ones are not counted."""
    pixels = GREY[..., None] if grey else COLOUR
    behind = {"white": 255, "black": 0}[background]
    share = ALPHA[..., None] / 255
    exact = pixels * share + behind * (1 - share)
    image = Image.fromarray(np.concatenate([pixels, ALPHA[..., None]], -1))
    read = picture.read(save(tmp_path, image), background=background)
    assert read.pixels.shape == pixels.shape and read.transparent
    assert np.abs(read.pixels - exact).max() <= 0.5 + 1e-9
    opaque = np.concatenate([pixels, np.full_like(ALPHA, 255)[..., None]], -1)
    read = picture.read(save(tmp_path, Image.fromarray(opaque)))
    np.testing.assert_array_equal(read.pixels, pixels)
    assert not read.transparent


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "P"])
def test_a_transparent_colour_shows_the_background(tmp_path, mode):
    """One value that PNG or GIF declares to be transparent."""
    pixels = {"L": GREY, "RGB": COLOUR, "I;16": DEEP, "P": GREY % 3}[mode]
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    key = tuple(map(int, pixels[2, 3])) if mode == "RGB" else int(pixels[2, 3])
    read = picture.read(save(tmp_path, image, transparency=key), background="white")
    same = pixels == pixels[2, 3]
    same = same.all(-1) if mode == "RGB" else same
    assert (read.pixels[same] == 255).all() and read.transparent
    shown = {
        "L": GREY[..., None],
        "RGB": COLOUR,
        "I;16": np.floor(DEEP / 257 + 0.5)[..., None],
        "P": (pixels[..., None] * 30 + np.array([10, 20, 30])),
    }[mode]
    np.testing.assert_array_equal(read.pixels[~same], shown[~same])


def test_palettes_bits_and_cmyk(tmp_path):
    """Grey palettes are grey, others colours; ink is what is not shown."""
    index = GREY % 4
    rest = [70, 70, 70, 0, 0, 0, 200, 200, 200]
    for table, channels in (([9, 9, 9, *rest], 1), ([9, 8, 7, *rest], 3)):
        image = Image.fromarray(index)
        image.putpalette(table)
        for name in ("a.png", "a.gif"):
            found = picture.read(save(tmp_path, image, name)).pixels
            shown = np.array(table).reshape(4, 3)[index][..., :channels]
            np.testing.assert_array_equal(found, shown)
    bits = Image.fromarray(GREY > 99)
    assert bits.mode == "1"
    found = picture.read(save(tmp_path, bits)).pixels
    np.testing.assert_array_equal(found[..., 0], 255 * (GREY > 99))
    ink = np.zeros((5, 7, 4), np.uint8)
    ink[..., 0] = GREY  # cyan alone takes away red alone
    found = picture.read(save(tmp_path, Image.fromarray(ink, "CMYK"), "a.tif")).pixels
    np.testing.assert_array_equal(found[..., 0], 255 - GREY)
    assert (found[..., 1:] == 255).all()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif", "a.apng"])
def test_several_frames_are_refused_by_name(tmp_path, name):
    """Animations and pages; the same image alone is read."""
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    path = save(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError) as error:
        picture.read(path)
    assert str(error.value) == (
        f"images must be single pictures, got {str(path)!r}. It holds 2 frames or "
        "pages; save each as a file of its own."
    )
    assert picture.read(save(tmp_path, frames[0], name)).pixels.shape == (5, 7, 3)


def test_the_first_of_a_cameras_pictures_is_shown(tmp_path):
    """A JPEG with a second picture for other screens (MPO), as phones write it."""
    bright, dark = (Image.new("RGB", (8, 8), (v,) * 3) for v in (200, 10))
    path = save(tmp_path, bright, "a.mpo", save_all=True, append_images=[dark])
    path = path.rename(tmp_path / "a.jpg")
    assert (picture.read(path).pixels == 200).all()


@pytest.mark.parametrize(
    ("pixels", "name", "words"),
    [
        (np.full((4, 4), 3e5, np.int32), "a.tif", "It is TIFF with mode I, whose"),
        (np.full((4, 4), -3, np.int16), "a.tif", "whose range is unknown; scale it"),
        (np.full((4, 4), 0.5, np.float32), "a.tif", "It is TIFF with mode F, whose"),
        (np.full((4, 4), 0.5, np.float32), "a.pfm", "It is PPM with mode F, whose"),
    ],
)
def test_unknown_ranges_are_refused_by_name(tmp_path, pixels, name, words):
    """32-bit integers, signed ones and fractions have no brightness of their own."""
    if pixels.dtype == np.int16:
        path = tmp_path / name
        tiff(path, pixels.astype(np.uint16), 16, 1)
        body = path.read_bytes()  # SampleFormat 2 in place of RowsPerStrip
        rows = struct.pack("<HHIHH", 278, 3, 1, 4, 0)
        counts = body[body.index(rows) + 12 :][:12]
        signed = struct.pack("<HHIHH", 339, 3, 1, 2, 0)
        path.write_bytes(body.replace(rows + counts, counts + signed))
    else:
        path = save(tmp_path, Image.fromarray(pixels), name)
    with pytest.raises(ValueError, match=f"must be of 8 or 16 bits.*{name}.*{words}"):
        picture.read(path)


def test_suffixes_are_those_pillow_reads(tmp_path):
    """Common ones are there, stubs and documents are not."""
    known = picture.suffixes()
    common = "png jpg jpeg jfif bmp gif webp tif tiff pgm ppm pbm jp2 tga ico apng mpo"
    assert {f".{one}" for one in common.split()} <= known
    assert not known & {".h5", ".grib", ".eps", ".pdf", ".wmf", ".mpg", ".txt", ".npy"}
    for suffix in (".png", ".bmp", ".tif", ".ppm", ".tga", ".sgi", ".pcx", ".dib"):
        image = Image.fromarray(COLOUR)
        found = picture.read(save(tmp_path, image, f"a{suffix}"))
        np.testing.assert_array_equal(found.pixels, COLOUR)
    with pytest.raises(ValueError, match="images must be readable, got .*none.png"):
        picture.read(pathlib.Path(tmp_path / "none.png"))
