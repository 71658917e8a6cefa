"""Recognises arrays whose axes are not images, rows, columns, channels.

Read as they are, such arrays would train without an error, on nonsense. What can only
be another layout is refused with the expression that turns it; what can be both is read
as documented, with a note.
"""

CHANNELS = (1, 3, 4)  # of pictures: grey, colours, colours with transparency
FEW = max(CHANNELS)
LONG = 16  # rows and columns of a picture, steps of a series


def check(name: str, shape: tuple[int, ...], num_labels: int | None) -> str | None:
    """Checks the axes of an array of images.

    Args:
      name: name of the array in messages.
      shape: of 3 or 4 axes.
      num_labels: number of labels that belong to it; None if it is unknown.

    Returns:
      A note about what is ambiguous, or None.

    Raises:
      ValueError: another layout, with the expression to write.
    """
    turn = _images_last(shape, num_labels)
    if turn:
        _refuse(name, "the images as the first axis", shape, turn)
    return (_check_pictures if len(shape) == 4 else _check_grey)(name, shape)


def _images_last(shape: tuple[int, ...], num_labels: int | None) -> str | None:
    """Returns what moves the images to the front, where only the last axis fits."""
    if num_labels is None or num_labels == shape[0]:
        return None
    if len(shape) == 3 and num_labels == 1 and shape[-1] in CHANNELS:
        return "x[None], since this is one image"
    if num_labels != shape[-1] or num_labels <= FEW:
        return None
    if len(shape) == 3:
        return "x.transpose(2, 0, 1)"
    square = shape[0] != shape[1] == shape[2] >= LONG // 2
    first = square or (shape[0] in CHANNELS and shape[2] not in CHANNELS)
    return "x.transpose(3, 1, 2, 0)" if first else "x.transpose(3, 0, 1, 2)"


def _check_pictures(name: str, shape: tuple[int, ...]) -> str | None:
    _, first, middle, last = shape
    if last <= FEW:
        return None
    square = first != middle == last
    long = 1 < first <= FEW and min(middle, last) >= LONG
    if long or (square and last >= LONG // 2):
        _refuse(
            name,
            "channels as the last axis",
            shape,
            f"x.transpose(0, 2, 3, 1), or x.transpose(0, 2, 1, 3) if these are images "
            f"of {first}x{middle} pixels with {last} channels",
        )
    if middle <= FEW < first or first == last != middle:
        where, turn = "are the middle axis", "x.transpose(0, 1, 3, 2)"
    elif first <= FEW or first < min(middle, last) or middle == last:
        where, turn = "come first", "x.transpose(0, 2, 3, 1)"
    else:
        return None
    return (
        f"{name} of shape {shape} is read as images of {first}x{middle} pixels with "
        f"{last} channels. If channels {where}, write {turn}."
    )


def _check_grey(name: str, shape: tuple[int, ...]) -> str | None:
    _, middle, last = shape
    if 2 <= last <= 4 and middle >= LONG:
        _refuse(
            name,
            "an axis each for rows, columns and channels",
            shape,
            f"x[:, None] for series of {middle} steps with {last} channels, or "
            f"x[..., None] for grey images of {middle}x{last} pixels, or use "
            "--inputs=series with a network of series",
        )
    short, long = sorted((middle, last))
    if 2 <= short <= LONG and long >= 4 * short:
        turn = "x[:, None]" if last == short else "x.transpose(0, 2, 1)[:, None]"
        return (
            f"{name} of shape {shape} is read as grey images of {middle}x{last} pixels."
            f" For series with {short} channels, write {turn}."
        )
    return None


def _refuse(name: str, rule: str, shape: tuple[int, ...], turn: str) -> None:
    raise ValueError(f"{name} must have {rule}, got shape {shape}. Write {turn}.")
