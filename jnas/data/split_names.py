"""Recognises folders whose names say a split: training_set, test_images, seg_train.

Read as classes, such folders would teach a network to tell training from test images.
A name is taken as a split only where a training side and another side agree; what could
be both is refused.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

WORDS = {
    "train": ("train", "training", "trainval", "trn"),
    "val": ("val", "valid", "validation", "dev", "devel", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"),
    "unlabeled": ("unlabeled", "unlabelled", "unsupervised", "pred", "prediction"),
}
FILLERS = frozenset(
    "set sets data dataset datasets image images img imgs picture pictures pic pics "
    "photo photos sample samples example examples file files folder dir x".split()
)
FOLDS = frozenset({"fold", "split", "subset", "shard"})
_SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
_GLUED = re.compile(f"({'|'.join(_SPLIT_OF)})({'|'.join(FILLERS | FOLDS)})")


class Meaning(NamedTuple):
    """What the name of a folder says.

    Attributes:
      split: a key of WORDS; "" if the name says two.
      rest: its words that belong to no split: ("station",) of train_station.
    """

    split: str
    rest: tuple[str, ...]


def divide(
    folders: Sequence[str], nested: Collection[str], *, name: str
) -> dict[str, str] | None:
    """Tells folders of splits from folders of classes.

    Args:
      folders: names of all folders of one place.
      nested: names of those that hold folders.
      name: name of the data set in messages.

    Returns:
      Split -> folder, with "train" among them; None if the folders are classes.

    Raises:
      ValueError: a folder's name says a split and it is not certain that it is one.
    """
    said = _said(folders)
    sure = {one: meaning for one, meaning in said.items() if not meaning.rest}
    if not _has_pair(sure) and len(said) == len(folders) and len(_rests(said)) == 1:
        sure = said  # seg_train and seg_test
    sides, alone = _sides(sure), len(sure) == len(folders) > 0
    if _has_pair(sure) or (alone and "train" in sides and "" not in sides):
        return _one_each(sure, name)
    if alone and not sides & {"", "train"}:
        shown = ", ".join(map(repr, folders))
        raise ValueError(
            f"{name} must have a folder train beside {shown}, got none. Add it, or "
            "rename them if they are classes."
        )
    unclear = _unclear(said, sure, folders, nested)
    if unclear:
        others = [repr(one) for one in folders if one != unclear]
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise ValueError(
            f"{name} must have folders of classes alone, or a train and a test folder "
            f"with the classes inside, got {unclear!r}, whose name says a split"
            f"{' beside ' if others else ''}{', '.join(others[:3])}{more}. Name the "
            "splits train, val and test and move the classes into them, or rename "
            f"{unclear!r} if it is a class."
        )
    return None


def inside_a_class(folders: Sequence[str]) -> list[str]:
    """Returns the folders of a class that are named after splits.

    Args:
      folders: names of all folders of one place, within the folder of a class.

    Returns:
      Their names; empty if there are none, or a folder train alone, of which nothing
      is tested.
    """
    said = _said(folders)
    return [
        one
        for one, meaning in said.items()
        if len(_sides(_alike(said, meaning.rest))) > 1
        or (not meaning.rest and meaning.split != "train")
    ]


def _words(name: str) -> tuple[str, ...]:
    """Returns the words of trainImages_v2: train, images, v; digits are none."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    spaced = re.sub(r"\b(hold|held)[\W_]+out\b", "holdout", spaced)
    words = []
    for word in re.split(r"[\W\d_]+", spaced):
        glued = _GLUED.fullmatch(word)
        words += [glued[1] if glued else word] if word else []
    return tuple(words)


def _said(folders: Sequence[str]) -> dict[str, Meaning]:
    """Returns what the names of folders say, of those that say a split."""
    said = {}
    lower = {one.casefold() for one in folders}
    for one in folders:
        words = _words(one)
        splits = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
        if splits == {"train", "val"}:
            splits = {"train"}
        if splits and f"in{one.casefold()}" not in lower:  # valid beside invalid
            known = _SPLIT_OF.keys() | FILLERS | FOLDS
            rest = tuple(word for word in words if word not in known)
            said[one] = Meaning(splits.pop() if len(splits) == 1 else "", rest)
    return said


def _sides(said: dict[str, Meaning]) -> set[str]:
    return {meaning.split for meaning in said.values()}


def _rests(said: dict[str, Meaning]) -> set[tuple[str, ...]]:
    return {meaning.rest for meaning in said.values()}


def _alike(said: dict[str, Meaning], rest: tuple[str, ...]) -> dict[str, Meaning]:
    return {one: meaning for one, meaning in said.items() if meaning.rest == rest}


def _has_pair(said: dict[str, Meaning]) -> bool:
    sides = _sides(said)
    return "train" in sides and bool(sides & {"val", "test"}) and "" not in sides


def _one_each(sure: dict[str, Meaning], name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one, meaning in sure.items():
        if meaning.split in found:
            raise ValueError(
                f"{name} must have one folder for each split, got "
                f"{found[meaning.split]!r} and {one!r}. Remove one of them, or "
                "move the classes into folders train and test."
            )
        found[meaning.split] = one
    return found


def _unclear(
    said: dict[str, Meaning],
    sure: dict[str, Meaning],
    folders: Sequence[str],
    nested: Collection[str],
) -> str | None:
    """Returns a folder that may be a split or a class."""
    words = {one: _words(one) for one in folders}
    folds = (set(w) & FOLDS and set(w) <= FOLDS | FILLERS for w in words.values())
    if len(folders) > 1 and all(folds):
        return folders[0]
    plain = {words[one] for one in folders if one not in said}
    for one, meaning in sorted(said.items(), key=lambda item: item[1].split != ""):
        train = one.casefold() == "train" and one not in nested  # may be a vehicle
        if one in sure and not (train and _sides(said) == {"train"}):
            return one
        both = len(_sides(_alike(said, meaning.rest))) > 1  # cat_train and cat_test
        if both or (meaning.split != "train" and meaning.rest in plain):
            return one
    return next(iter(said)) if len(_sides(said)) > 1 and not plain else None
