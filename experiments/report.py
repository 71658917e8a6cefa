"""Writes one HTML report of any number of runs, a file that opens from disk.

    python experiments/report.py --runs=runs/first
    python experiments/report.py --runs=runs/a0,runs/a1,runs/b0 --out=report.html

A run is a --workdir, finished or not; nothing in it is changed. Runs that differ only
in their seed are one line of a chart, with a band. The report begins with the runs'
warnings, the data, the method, the result and the verdict, and shows settings, cells,
curves, weights, fronts, best evaluations, every seed's genotype and comparisons, as far
as the runs have them. The same tables in a notebook:

    loaded = report.load("runs/first")
    report.seeds_table(loaded), report.front_table(loaded)
    report.evaluations_table(loaded, most=10)
"""

import pathlib

from absl import flags

from jnas import report, run
from jnas.run import files

FLAGS = flags.FLAGS
flags.DEFINE_list("runs", None, "Run folders, comma-separated.")
flags.mark_flag_as_required("runs")
flags.DEFINE_string("out", "report.html", "File to which the report is written.")
flags.DEFINE_string(
    "title", None, "Title; without it the launcher or the number of runs."
)
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")


def main():
    """Reads the folders and writes the report."""
    out = pathlib.Path(FLAGS.out)
    files.check_output("out", FLAGS.out)
    runs = report.load_all([path for path in FLAGS.runs if path.strip()])
    report.write_report(out, runs, title=FLAGS.title)
    print(out.absolute())


if __name__ == "__main__":
    run.launch(main)
