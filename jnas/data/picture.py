"""One picture: a file becomes the pixels that a viewer shows, or is refused by name."""

import functools
import pathlib
import warnings
from typing import Any, NamedTuple

import numpy as np

BACKGROUNDS = {"white": 255, "black": 0}
GREY = {"1", "L", "LA", "La"}
DEEP = {"I;16", "I;16B", "I;16L", "I;16N"}
DEEP_FORMATS = {"PNG", "TIFF", "JPEG2000", "PPM"}  # whose range of values is known
FIRST_SHOWN = {"MPO", "PSD", "ICO", "ICNS", "CUR"}  # viewers show the first of several
UNREADABLE = {"EPS", "MPEG", "PDF", "PALM"}  # need Ghostscript, or are only written
GREY_DEEP = ("PNG", "PPM")  # where 32-bit integers of Pillow hold 16 bits
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF


class Picture(NamedTuple):
    """Pixels of a file.

    Attributes:
      pixels: uint8 [H, W, 1] if it is grey, else [H, W, 3].
      transparent: whether a background shows through.
      largest: largest value of a picture of 16 bits, of 65,535; None for other depths.
    """

    pixels: np.ndarray
    transparent: bool = False
    largest: int | None = None


@functools.cache
def suffixes() -> frozenset[str]:
    """Returns the suffixes of the files that Pillow can read by itself."""
    from PIL import Image, ImageFile

    Image.init()

    def reads(kind):
        opener = Image.OPEN.get(kind, (None,))[0]
        stub = isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)
        return kind not in UNREADABLE and (bool(opener) or kind == "MPO") and not stub

    registered = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in registered if reads(kind))


def read(file: pathlib.Path, *, background: str = "white") -> Picture:
    """Reads a picture as a viewer shows it.

    Grey of 16 bits is scaled to 8 (65,535 becomes 255), the camera's orientation is
    applied, palettes and CMYK become colours, and transparent pixels show the
    background.

    Args:
      file: a regular file.
      background: "white" or "black".

    Raises:
      ValueError: the file is unreadable, animated, has several pages or values that no
        viewer shows without a choice; the message names it.
    """
    from PIL import Image

    try:
        if not file.is_file():  # opening a pipe would block forever
            raise OSError("no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # by its path Pillow would map the file, and misread turned grey TIFFs
            with open(file, "rb") as stream, Image.open(stream) as picture:
                problem = _problem(picture)
                if problem is None:
                    return _pixels(picture, BACKGROUNDS[background])
    except Exception as error:  # crafted files raise more than Pillow documents
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "not an image that Pillow knows" if unknown else error
        raise ValueError(
            f"images must be readable, got {str(file)!r} ({reason}). Repair or remove "
            "the file."
        ) from error
    raise ValueError(f"images must be {problem[0]}, got {str(file)!r}. {problem[1]}")


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a picture by bicubic interpolation; its sides need not keep their ratio.

    Args:
      pixels: uint8 [H, W, 1] or [H, W, 3].
      size: rows and columns.

    Returns:
      uint8 [rows, columns, 1 or 3].
    """
    from PIL import Image

    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    small = Image.fromarray(np.ascontiguousarray(flat)).resize(size[::-1])
    return np.asarray(small).reshape(*size, -1)


def _problem(picture: Any) -> tuple[str, str] | None:
    """Returns (rule, advice) of a picture that cannot be read as it is shown."""
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format not in FIRST_SHOWN:
        return (
            "single pictures",
            f"It holds {frames} frames or pages; save each as a file of its own.",
        )
    deep = _is_deep(picture.mode, picture.format)
    known = picture.mode in GREY | {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK"}
    if known or picture.mode in ("YCbCr", "HSV"):
        return None
    if deep and picture.format in DEEP_FORMATS:
        return None
    return (
        "of 8 or 16 bits, grey or colours",
        f"It is {picture.format} with mode {picture.mode}, whose range is unknown; "
        "scale it and save it as PNG, or use npz: with float32.",
    )


def _is_deep(mode: str, form: str | None) -> bool:
    return mode in DEEP or (mode == "I" and form in GREY_DEEP)


def _pixels(picture: Any, background: int) -> Picture:
    from PIL import ImageOps

    form, mode, tags = picture.format, picture.mode, getattr(picture, "tag_v2", {})
    grey = mode in GREY or any("LA;16" in str(tile) for tile in picture.tile)
    picture.load()
    turned = ImageOps.exif_transpose(picture)
    if _is_deep(mode, form):
        return _deep(turned, tags, background)
    transparent = False
    if turned.has_transparency_data or mode in ("RGBa", "La", "PA"):
        pixels = np.asarray(_opaque_modes(turned).convert("RGBA"), np.int64)
        alpha = pixels[..., 3:]
        transparent = bool((alpha < 255).any())
        # rounds to the nearest
        pixels = (pixels[..., :3] * alpha + background * (255 - alpha) + 127) // 255
        pixels = pixels.astype(np.uint8)
    else:
        pixels = np.asarray(turned.convert("RGB"), np.uint8)
    if not grey and mode in ("P", "PA"):
        grey = bool((pixels == pixels[..., :1]).all())
    return Picture(pixels[..., :1] if grey else pixels, transparent)


def _opaque_modes(picture: Any) -> Any:
    """Undoes colours that were multiplied by their opacity."""
    return picture.convert({"La": "LA", "RGBa": "RGBA"}.get(picture.mode, picture.mode))


def _deep(picture: Any, tags: Any, background: int) -> Picture:
    """Scales grey of 16 bits, or of the 12 bits that TIFF may hold, to 8 bits."""
    values = np.asarray(picture).astype(np.int64)
    most = 2 ** int(tags.get(BITS, (16,))[0]) - 1
    see_through = values == picture.info.get("transparency", -1)
    largest = int(values.max()) * 65535 // most
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = most - values
    values = (values * 255 + most // 2) // most  # rounds to the nearest
    pixels = np.where(see_through, background, values).astype(np.uint8)[..., None]
    return Picture(pixels, bool(see_through.any()), largest)
