"""Times search and training steps and compares them with the machine's rates.

    python experiments/benchmark.py --preset=tiny --json=now.json --compare=earlier.json

Each step is compiled on its own, cold unless --cache is given, as a loop of --loop
batches, which is how a run runs it; then all run in turns. Times are of one step.
FLOPs are 2 per multiply-accumulate, counted as jnas/bench/steps.py says; bytes
are arguments + results + 2 temporaries, the least that a step moves. Shares are of what
the same process reaches in one large float32 product and one large copy. A MB is 1e6
bytes. The last line is one JSON object; --json writes it to a file as well.
"""

import json
import pathlib

import jax.numpy as jnp
from absl import flags

from jnas import registry, report, run
from jnas.bench import figures
from jnas.bench import steps as steps_lib
from jnas.run import files

PRESETS = {"tiny": (4, 3, 16, 8), "small": (8, 5, 32, 16), "paper": (16, 8, 64, 32)}
SHAPE = ("features", "layers", "batch_size", "image_size")
STEPS = list(steps_lib.PASSES)

FLAGS = flags.FLAGS
flags.DEFINE_enum(
    "preset",
    "small",
    list(PRESETS),
    "Preset of features, layers, batch and image size.",
)
flags.DEFINE_integer("features", None, "Features of the first cells.", lower_bound=1)
flags.DEFINE_integer("layers", None, "Number of cells.", lower_bound=1)
flags.DEFINE_integer("batch_size", None, "Images in a batch.", lower_bound=1)
flags.DEFINE_integer("image_size", None, "Rows and columns of an image.", lower_bound=1)
flags.DEFINE_list("steps", STEPS, "Steps that are timed, comma-separated.")
flags.DEFINE_integer("loop", 4, "Number of steps in one timed call.", lower_bound=1)
flags.DEFINE_integer("repeats", 5, "Number of timed calls of each step.", lower_bound=1)
flags.DEFINE_boolean(
    "remat", False, "Recompute activations for the gradient, to save memory."
)
flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Type of the activations."
)
flags.DEFINE_string("json", None, "File to which the JSON object is written.")
flags.DEFINE_string("compare", None, "File whose last line is an earlier JSON object.")
flags.DEFINE_boolean("cache", False, "Reuse programs that earlier processes compiled.")
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")


def main():
    """Compiles, times and prints."""
    sizes = zip(SHAPE, PRESETS[FLAGS.preset], strict=True)
    shape = {name: FLAGS[name].value or size for name, size in sizes}
    check()
    earlier = figures.read(FLAGS.compare, shape) if FLAGS.compare else None
    options = {"remat": FLAGS.remat, "dtype": jnp.dtype(FLAGS.dtype)}
    steps = steps_lib.steps(FLAGS.steps, **shape, loop=FLAGS.loop, **options)
    result = {
        "preset": FLAGS.preset,
        "shape": shape,
        "remat": FLAGS.remat,
        "dtype": FLAGS.dtype,
        "loop": FLAGS.loop,
        **figures.measure(steps, repeats=FLAGS.repeats),
    }
    close(result, earlier)


def check():
    """Refuses unknown steps, and a file that has no folder, before compiling."""
    for name in FLAGS.steps or [""]:
        if name not in STEPS:
            raise ValueError(
                f"steps must be some of {', '.join(STEPS)}, got {name!r}. "
                f"{registry.nearest(name, STEPS)}"
            )
    if FLAGS.json:
        files.check_output("json", FLAGS.json)


def close(result, earlier):
    """Prints the tables and, last, the object."""
    rates, peak = result["rates"], result["peak_memory_bytes"]
    print(
        f"{result['device']}: product {rates['matmul_flops'] / 1e9:.1f} GFLOP/s, copy "
        f"{rates['copy_bytes'] / 1e9:.1f} GB/s, peak memory "
        f"{'not known' if peak is None else f'{peak / 1e6:.0f} MB'}\n"
    )
    print(report.markdown(figures.table(result["steps"])) + "\n")
    if earlier:
        ratios = figures.ratios(earlier["steps"], result["steps"])
        print(f"Earlier: {FLAGS.compare}, {earlier.get('device')}\n")
        print(report.markdown(ratios) + "\n")
    line = json.dumps(result)
    print(line)
    if FLAGS.json:
        pathlib.Path(FLAGS.json).write_text(line + "\n")


if __name__ == "__main__":
    run.launch(main)
