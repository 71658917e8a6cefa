"""Which augmentation fits a data set, and the sentence that says so.

An augmentation must keep the label and the image. A crop moves an axis by at most half
of it, cutout blanks a part of what a crop leaves, and only images that are known to
keep their label are mirrored, unless the user says otherwise.
"""

from typing import Any

from jnas.data import augment as augment_lib
from jnas.data import dataset as dataset_lib

POLICIES = ("auto", "standard", "none")
SHARE = 8  # a crop moves an axis by an eighth: not at all below 8 pixels


def for_search(
    dataset: dataset_lib.Dataset,
    *,
    policy: str = "auto",
    flip: bool | None = None,
    crop_padding: int | None = None,
    cutout: int | None = None,
) -> Any:
    """Returns the augmentation of a search: crop and mirroring.

    Args:
      dataset: gives mean, deviation and whether mirroring keeps the label.
      policy: "auto": crop, and mirroring where the data set is known to keep its label,
        of classes, and neither for other targets, which a shift may change;
        "standard": both, as the papers on CIFAR-10; "none": neither.
      flip: whether images are mirrored; None means what the policy says.
      crop_padding: largest shift in pixels, of each axis of at least twice as many;
        None means what the policy says: an eighth of each axis of at least 8 pixels, 4
        at 32, as in the papers.
      cutout: side of the square in pixels; None means 0.

    Raises:
      ValueError: an unknown policy, or a crop or a cutout that could remove the image.
    """
    if policy not in POLICIES:
        raise ValueError(
            f"augment must be one of {', '.join(POLICIES)}, got {policy!r}. Choose one."
        )
    if dataset.inputs != dataset_lib.IMAGES or dataset.task.prepare is not None:
        given = {"flip": flip, "crop_padding": crop_padding, "cutout": cutout}
        given |= {"augment": policy} if policy == "standard" else {}
        return _normalised(dataset, {n: v for n, v in given.items() if _is_on(v)})
    policy = _own(dataset, policy)
    mean, std, fill = dataset.moments
    padding = _padding(dataset.image_shape[:2], crop_padding, policy)
    if flip is None:
        flip = policy == "standard" or (policy == "auto" and bool(dataset.flip))
    if cutout is not None:
        most = _largest_cutout(dataset.image_shape[:2], padding)
        if not 0 <= cutout <= most:
            rows, columns, _ = dataset.image_shape
            raise ValueError(
                f"cutout must be from 0 to {most} to leave something of images of "
                f"{rows}x{columns} pixels{_cropped(padding)}, got {cutout}. Choose "
                "another side."
            )
    return augment_lib.Augment(mean, std, padding, flip, cutout or 0, fill)


def for_training(
    dataset: dataset_lib.Dataset,
    *,
    policy: str = "auto",
    flip: bool | None = None,
    crop_padding: int | None = None,
    cutout: int | None = None,
) -> Any:
    """Returns the augmentation of training from scratch: crop, mirroring and cutout.

    Args:
      dataset: gives mean, deviation and whether mirroring keeps the label.
      policy: as in ``for_search``.
      flip: as in ``for_search``.
      crop_padding: as in ``for_search``.
      cutout: side of the square in pixels; 0 disables it; None means what the policy
        says: half of the shorter side, 16 at 32 rows, as in the papers, or 0 if that
        side is one pixel, the policy is "none", or "auto" of targets that are no
        classes.

    Raises:
      ValueError: as in ``for_search``.
    """
    own = dataset.inputs != dataset_lib.IMAGES or dataset.task.prepare is not None
    if cutout is None and not own and _own(dataset, policy) != "none":
        size = dataset.image_shape[:2]
        padding = _padding(size, crop_padding, policy)
        cutout = min(min(size) // 2, _largest_cutout(size, padding))
    return for_search(
        dataset, policy=policy, flip=flip, crop_padding=crop_padding, cutout=cutout
    )


def _own(dataset, policy: str) -> str:
    """Returns the policy, which "auto" is not for targets that are no classes."""
    other = policy == "auto" and not dataset.num_classes
    return "none" if other else policy


def _is_on(value: Any) -> bool:
    return value is not None and (not isinstance(value, int) or bool(value))


def _normalised(dataset, given) -> Any:
    """Returns the normalisation of inputs that are no images, or a task's own."""
    images = dataset.inputs == dataset_lib.IMAGES
    why = f"{dataset.inputs}, which are no images"
    if images:
        why = f"the task {dataset.task_name}, which prepares images itself"
    for name, value in given.items():
        raise ValueError(
            f"{name} must be left out for {why}, got {value}. Leave it out; a task may "
            "augment (data.Task.prepare)."
        )
    if dataset.task.prepare is not None:
        return dataset.task.prepare
    if isinstance(dataset.moments, dict):
        return {
            name: augment_lib.Augment(one.mean, one.std)
            for name, one in dataset.moments.items()
        }
    return augment_lib.Augment(dataset.moments.mean, dataset.moments.std)


def _padding(size: tuple[int, ...], given: int | None, policy: str) -> tuple[int, int]:
    if given is None:
        high, wide = (0 if policy == "none" else side // SHARE for side in size)
        return high, wide
    if not 0 <= given <= max(size) // 2:
        raise ValueError(
            f"crop_padding must be from 0 to {max(size) // 2}, half of the longer side "
            f"of images of {size[0]}x{size[1]} pixels, got {given}. Choose another."
        )
    high, wide = (given if 2 * given <= side else 0 for side in size)
    return high, wide


def _largest_cutout(size: tuple[int, ...], padding: tuple[int, int]) -> int:
    """Returns the largest square that cannot blank all that a crop leaves."""
    return max(side - p for side, p in zip(size, padding, strict=True)) - 1


def _cropped(padding: tuple[int, int]) -> str:
    high, wide = padding
    if not high and not wide:
        return ""
    sides = [(high, "pixel")] if high == wide else [(high, "row"), (wide, "column")]
    parts = [f"{n} {unit}{'s' * (n > 1)}" for n, unit in sides if n]
    return f" cropped by up to {' and '.join(parts)}"


def describe(augment: augment_lib.Augment, dataset: dataset_lib.Dataset) -> str:
    """Returns the line that says how images are augmented, and why not mirrored.

    Args:
      augment: made for the data set.
      dataset: says whether mirroring keeps the label.

    Example:
      "augmentation: crop by up to 4 pixels, mirroring, cutout 16"
    """
    if callable(augment):
        return f"augmentation: that of the task {dataset.task_name}"
    if dataset.inputs != dataset_lib.IMAGES:
        return "augmentation: none, inputs are normalised only"
    if not any((*augment.padding, augment.flip, augment.cutout)):
        return "augmentation: none, images are normalised only"
    crop = _cropped(augment.padding).replace(" cropped", "crop") or "no crop"
    keeps = {True: "", False: "changes the label", None: "may change the label"}
    unknown = "unknown whether it keeps the label; --flip turns it on"
    if augment.flip:
        reason = keeps[dataset.flip]
        mirror = "mirroring" + (f" ({reason}; --noflip turns it off)" if reason else "")
    else:
        reason = {True: "", False: "it changes the label", None: unknown}[dataset.flip]
        mirror = "no mirroring" + (f" ({reason})" if reason else "")
    cutout = f"cutout {augment.cutout}" if augment.cutout else "no cutout"
    return f"augmentation: {crop}, {mirror}, {cutout}"
