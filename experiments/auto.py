"""From images and limits to a trained model, in minutes: the whole way as one command.

    python experiments/auto.py --workdir=runs/photos --data=folder:photos \
        --max_parameters=100000 --minutes=10

Checks the data, chooses space, sizes and numbers of epochs by a table of rules
(--explain prints it, with the row that is used and what justifies it), measures how
fast this device is, and says its plan. Then it searches a cell, trains its network
beside hand-made ones of as many parameters, and tunes its training if the minutes
suffice. Each step is a command that is printed as it starts, with a folder of its own
in --workdir.

The model in model/ is the one with the best accuracy on a fifth of the training images,
be it a hand-made one; every network is tested once, after its training. What does not
fit into --minutes is left out, tuning first, then seeds, then baselines, and said. What
the search leaves of them goes to the trainings.
"""

import functools
import json
import os
import pathlib
import sys
import time

import jax
from absl import flags as absl_flags

from jnas import run
from jnas.studies import auto, closing, flags, setup

FLAGS = flags.define(setup.DataSettings, auto.AutoSettings)
_BEGAN = time.monotonic()
run.define_streaming()


def main():
    """Goes through the steps, and gives the best model."""
    data_settings, settings = FLAGS.read()
    if settings.latency_of:
        print(json.dumps(auto.latencies(settings.latency_of)))
        return
    if settings.probe:
        device = jax.default_backend()
    else:
        auto.keep_device_free()
        device = auto.device()
    read = auto.read(
        data_settings.data,
        data_settings.shrink,
        minutes=settings.minutes,
        device=device,
        **setup.kinds(data_settings),
    )
    shared = shared_flags(data_settings)
    folder = os.path.normpath(absl_flags.FLAGS.workdir)
    setting = auto.prepare(settings, read, shared, folder=folder, device=device)
    if settings.explain:
        print(auto.explain(setting))
        return
    if settings.probe:
        print(json.dumps(auto.figures(setting)))
        return
    runner = auto.processes(pathlib.Path(__file__).parent, sys.orig_argv)
    with FLAGS.open_run(read.dataset) as r:
        start = functools.partial(closing.launcher, r)
        if r.finished is not None:
            print(closing.is_finished(r))
            print(auto.text(r.workdir, r.finished, start))
            return
        steps = auto.Auto(r, setting, runner, began=_BEGAN)
        result = auto.close(r, steps, setting, steps.go())
        print(auto.text(r.workdir, result, start))


def shared_flags(data_settings):
    """Returns the flags that every step has too."""
    values = absl_flags.FLAGS
    shared = {"data": data_settings.data}
    shared |= {"shrink": data_settings.shrink} if data_settings.shrink > 1 else {}
    shared |= {"seed": values.seed} if values.seed else {}
    shared |= {"plugins": ",".join(values.plugins)} if values.plugins else {}
    free = {name: values[name] for name in (*auto.FREE, "norm_group")}
    return shared | {n: f.value for n, f in free.items() if not f.using_default_value}


if __name__ == "__main__":
    run.launch(main)
