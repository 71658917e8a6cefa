"""The rules of ``auto``: which space, method and budget suit data, limits and minutes.

A table as data. The first row whose conditions hold is used; the last holds always.
Each row says what justifies it. ``jnas auto --explain`` prints the table with the row
that is used.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

INFINITE = math.inf
CPU = "cpu"
# In trainings of minutes on hundreds of images: see the row that uses it.
GENTLE = {"learning_rate": 0.05, "clip_norm": 5.0}


class Facts(NamedTuple):
    """What the rules are about.

    Attributes:
      images: number of training images.
      classes: number of classes.
      side: shorter side of an image in pixels.
      minutes: of the whole.
      device: "cpu", "gpu" or "tpu".
    """

    images: int
    classes: int
    side: int
    minutes: float
    device: str


@dataclasses.dataclass(frozen=True)
class Rule:
    """A row: conditions, each from (included) to (excluded), and what is chosen.

    Attributes:
      name: of the row.
      because: the measurement that justifies it, or "not measured".
      images: range of the number of training images.
      classes: range of the number of classes.
      side: range of the shorter side in pixels.
      minutes: range of the minutes.
      devices: kinds of device; empty is any.
      space: that is searched.
      method: of the search.
      features: of the first cells of the search, unless limits say how many.
      most_features: largest number of them under limits.
      train_features: of the trainings without limits.
      layers: cells of a stage.
      batch_size: images in a batch, of search and trainings.
      search_epochs: fewest and most epochs of the search.
      epochs: fewest and most epochs of each training.
      finalists: number of cells that the search trains from scratch; 0 trains none.
      finalist_epochs: epochs of each finalist's training.
      seeds: most trainings of each network.
      trials: of the tuning; 0 tunes nothing.
      baselines: hand-made networks, the most important first.
      recipe: numbers of every training that replace the recipe's.
    """

    name: str
    because: str
    images: tuple[float, float] = (0, INFINITE)
    classes: tuple[float, float] = (0, INFINITE)
    side: tuple[float, float] = (0, INFINITE)
    minutes: tuple[float, float] = (0, INFINITE)
    devices: tuple[str, ...] = ()
    space: str = "compact"
    method: str = "drnas"
    features: int = 8
    most_features: int = 16
    train_features: int = 16
    layers: int = 1
    batch_size: int = 64
    search_epochs: tuple[int, int] = (6, 20)
    epochs: tuple[int, int] = (6, 30)
    finalists: int = 0
    finalist_epochs: int = 4
    seeds: int = 3
    trials: int = 9
    baselines: tuple[str, ...] = ("mobilenet_v2", "resnet", "plain_cnn")
    recipe: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def holds(self, facts: Facts) -> bool:
        """Whether every condition of the row holds."""
        ranges = ("images", "classes", "side", "minutes")
        inside = all(
            low <= getattr(facts, name) < high
            for name in ranges
            for low, high in [getattr(self, name)]
        )
        known = not self.devices or facts.device in self.devices
        return inside and known

    def conditions(self) -> str:
        """Returns the conditions in words."""
        names = ("images", "classes", "side", "minutes")
        return _conditions({n: getattr(self, n) for n in names}, self.devices)

    def choices(self) -> str:
        """Returns what the row chooses, in words."""
        own = ", ".join(f"{name} {value:g}" for name, value in self.recipe.items())
        return (
            f"{self.space} by {self.method}, {self.features} features (trainings "
            f"{self.train_features}, at most {self.most_features} under limits), "
            f"{self.layers} layers, batch {self.batch_size}, "
            f"search {_range(self.search_epochs)} and trainings "
            f"{_range(self.epochs)} epochs, {self.finalists} finalists, "
            f"{self.seeds} seeds, {self.trials} trials, "
            f"{', '.join(self.baselines) or 'no baseline'}" + f"; {own}" * bool(own)
        )


def _conditions(ranges: Mapping[str, tuple], devices: tuple[str, ...]) -> str:
    said = []
    for name, (low, high) in ranges.items():
        said += [f"{name} >= {low:,g}"] * (low > 0)
        said += [f"{name} < {high:,g}"] * (high < INFINITE)
    said += [f"device {' or '.join(devices)}"] * bool(devices)
    return ", ".join(said) or "always"


def _range(pair: tuple[int, int]) -> str:
    return f"{pair[0]} to {pair[1]}"


_FEW = (
    "480 photos of 32x32, 20 epochs at batch 32, one seed each: at rates 0.6, 0.2, "
    "0.05 a found cell has 0.200, 0.516, 0.579 on validation, MobileNetV2 0.516, "
    "0.526, 0.568; a random cell ended at NaN at 0.6 without clipping; in a run of ten "
    "minutes a plain CNN has 0.647 on test, ResNet 0.583, MobileNetV2 0.569, the found "
    "cell 0.544 (three trainings each), so the plain CNN comes first"
)

_THOUSANDS = (
    "4,000 images of 14x14, six epochs: DrNAS with frozen logits has the best mean of "
    "six recipes, 0.848 where 20 random cells have 0.831 (p 0.02) and a smaller "
    "MobileNetV2 0.811; six finalists have no clear effect on three data sets (README) "
    "and are left out; at 6 epochs a crop costs 0.03"
)

RULES = (
    Rule(
        "few images, few minutes",
        f"{_FEW}; fewer networks, since most of such a budget is compiling",
        images=(0, 2_000),
        minutes=(0, 5),
        devices=(CPU,),
        most_features=24,
        batch_size=32,
        search_epochs=(6, 10),
        epochs=(15, 40),
        seeds=1,
        trials=0,
        baselines=("plain_cnn",),
        recipe=GENTLE,
    ),
    Rule(
        "few images",
        f"{_FEW}; finalists have the recipe's higher rate and are left out",
        images=(0, 2_000),
        devices=(CPU,),
        most_features=24,
        batch_size=32,
        search_epochs=(10, 20),
        epochs=(20, 40),
        baselines=("plain_cnn", "resnet", "mobilenet_v2"),
        recipe=GENTLE,
    ),
    Rule(
        "large images on a CPU",
        "3,000 images, two busy cores: a training of the largest cell takes 34 ms an "
        "image of 96x96, 3 ms of 32x32; with the fewest epochs of the row for "
        "thousands of images 38 minutes are needed, with these 16; which choices have "
        "the best accuracy is not measured",
        side=(65, INFINITE),
        devices=(CPU,),
        train_features=8,
        batch_size=32,
        search_epochs=(2, 10),
        epochs=(3, 20),
    ),
    Rule(
        "many classes",
        "80 classes (CIFAR-10 at 16x16, turned and with swapped colours, 16,000 "
        "images), trainings of one minute: random cells of 8 features have 0.259 (9 "
        "epochs), of 16 0.278 (4 epochs), of 32 0.254 (2 epochs), four each; cells "
        "found at 8 and 16 features 0.292 and 0.311, two searches each, the best "
        "hand-made network 0.234 and 0.197",
        classes=(50, INFINITE),
        devices=(CPU,),
        features=16,
        most_features=32,
        search_epochs=(2, 20),
        epochs=(3, 30),
    ),
    Rule(
        "many images on a CPU",
        "50,000 images of 16x16 (CIFAR-10), a search of two epochs and trainings of "
        "three: cells found by three searches have 0.677 +- 0.008, eight random cells "
        "0.636 (p 0.02; the best 0.665), the best hand-made network 0.647",
        images=(20_000, INFINITE),
        devices=(CPU,),
        search_epochs=(1, 6),
        epochs=(2, 12),
    ),
    Rule(
        "thousands of images, few minutes",
        f"{_THOUSANDS}; in trainings of 20 s, cells of 8 features (6 epochs) have "
        "0.848, of 16 (3 epochs) 0.834 (three searches)",
        images=(2_000, 20_000),
        minutes=(0, 5),
        devices=(CPU,),
        train_features=8,
    ),
    Rule(
        "thousands of images on a CPU",
        f"{_THOUSANDS}; in trainings of 45 to 60 s, one cell of 8, 12, 16, 24, 32 "
        "features (30, 17, 11, 7, 5 epochs) has 0.852, 0.859, 0.865, 0.849, 0.847, "
        "and MobileNetV2 of as many parameters 0.858, 0.859, 0.855, 0.846, three "
        "trainings each",
        images=(2_000, 20_000),
        devices=(CPU,),
    ),
    Rule(
        "an accelerator",
        "not measured: the one visit to a GPU so far was before any whole search ran "
        "on one (experiments/gpu_results.md)",
        features=16,
        most_features=64,
        train_features=32,
        finalists=6,
        batch_size=128,
        search_epochs=(10, 50),
        epochs=(20, 200),
        seeds=3,
        trials=16,
    ),
)


class Side(NamedTuple):
    """A row: to which size a folder's pictures are resized where the user says none.

    Attributes:
      side: rows and columns in pixels.
      because: what justifies it.
      minutes: range of the minutes.
      devices: kinds of device; empty is any.
    """

    side: int
    because: str
    minutes: tuple[float, float] = (0, INFINITE)
    devices: tuple[str, ...] = ()


_SIDES = (
    "480 photos, 30 epochs, three trainings: at 16, 24, 32 pixels a plain CNN has "
    "0.622 +- 0.017, 0.581 +- 0.055, 0.633 +- 0.036, MobileNetV2 0.564, 0.556, 0.536: "
    "no difference that can be told apart"
)

SIDES = (
    Side(24, f"{_SIDES}, and 24 takes 0.6 of the time of 32", (0, 3), (CPU,)),
    Side(32, f"{_SIDES}; the runs on photos were at 32", (3, 60), (CPU,)),
    Side(64, "not measured: no larger pictures were at hand", (60, INFINITE), (CPU,)),
    Side(64, "not measured: no larger pictures were at hand"),
)


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds of the parts of a plan, in units of what the probe measures.

    A unit of compiling is the compilation of the probe's training, a unit of a step its
    step. Set so that the plan of one run agrees with it: 480 photos of 32x32, 12 to 16
    features, one shared core of an AMD EPYC: search 61 s planned and 69 s measured,
    four networks of three seeds 430 s and 416 s; 4,000 images of 14x14: a search with
    six finalists 156 s and 138 s; a table of latencies about 6 s, five networks timed
    in 28 s; a tuning of nine trials 43 s and 60 s.

    Attributes:
      start: seconds of starting a process and reading the data.
      search_compile: units of compiling a search.
      search_step: units of a step of the search.
      finalists_compile: units of compiling the program of the finalists.
      finalist_step: units of a step of a finalist.
      training_compile: units of compiling one training.
      baseline_step: units of a step of a hand-made network; MobileNetV2's has most.
      tuning_compile: units of compiling a tuning.
      latency: seconds of measuring a table of latencies.
      network_latency: seconds of compiling a trained network and measuring its latency.
      spare: share of the minutes that is kept for what is slower than planned.
    """

    start: float = 6.0
    search_compile: float = 3.0
    search_step: float = 4.5
    finalists_compile: float = 3.0
    finalist_step: float = 1.3
    training_compile: float = 1.2
    baseline_step: float = 1.5
    tuning_compile: float = 3.5
    latency: float = 15.0
    network_latency: float = 5.0
    spare: float = 0.12


COSTS = Costs()


def choose(facts: Facts) -> Rule:
    """Returns the first row whose conditions hold.

    Args:
      facts: what is known.
    """
    return next(rule for rule in RULES if rule.holds(facts))


def side(minutes: float, device: str) -> int:
    """Returns the size to which a folder's pictures are resized.

    Args:
      minutes: of the whole.
      device: its kind.
    """
    return next(
        row.side
        for row in SIDES
        if row.minutes[0] <= minutes < row.minutes[1]
        and (not row.devices or device in row.devices)
    )


def text(chosen: Rule | None = None) -> str:
    """Returns both tables in words; the rule that is used has an arrow.

    Args:
      chosen: the row that is used; None marks none.
    """
    lines = []
    for rule in RULES:
        mark = "->" if rule == chosen else "  "
        lines.append(f"{mark} {rule.name}: {rule.conditions()}")
        lines.append(f"     {rule.choices()}")
        lines.append(f"     because: {rule.because}")
    lines.append("Pictures of a folder, the first row that holds:")
    for row in SIDES:
        where = _conditions({"minutes": row.minutes}, row.devices)
        lines.append(f"   {row.side} pixels: {where}")
        lines.append(f"     because: {row.because}")
    return "\n".join(lines)
