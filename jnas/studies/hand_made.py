"""Hand-made networks beside a found cell: as large as its network, within limits."""

import json
from collections.abc import Callable, Mapping, Sequence

from jnas import data as data_lib
from jnas import networks
from jnas.networks import baselines as baselines_lib
from jnas.networks import limits as limits_lib
from jnas.run import files, workdir
from jnas.studies import inputs
from jnas.studies import limits as limits_of_run

LATENCIES = "latency_of_baselines.json"
Latency = Callable[[networks.Baseline], float]  # baseline -> milliseconds of one image


def latencies(run: workdir.Run) -> Latency:
    """Builds a function that times baselines; each is timed once a run.

    A resumed run has the same baselines, as the times are kept in its folder.

    Args:
      run: the open run.
    """
    path = run.workdir / LATENCIES

    def of(one):
        return run.led(lambda: kept(one))

    def kept(one):
        known = files.read_json(path) if path.exists() else {}
        name = json.dumps(one.to_json(), sort_keys=True)
        if name not in known:
            took = networks.network_latency(one.network(), one.image_shape)
            known |= {name: round(took, 6)}
            run.write_text(LATENCIES, json.dumps(known, indent=1) + "\n")
        return known[name]

    return of


def excess(costs: Mapping[str, float], bounds: Mapping[str, float]) -> str:
    """Returns which limit a network exceeds, in words; empty where it keeps all.

    Args:
      costs: of the network, by name.
      bounds: cost -> bound.
    """
    for name, bound in bounds.items():
        if name not in costs:
            return f"its {name} was not measured"
        if costs[name] > bound:
            got, most = limits_lib.shown(costs[name]), limits_lib.shown(bound)
            return f"its {got} {name} exceed {most}"
    return ""


def build(
    name: str,
    dataset: data_lib.Dataset,
    *,
    parameters: int,
    dtype: str,
    limits: Sequence[networks.Limit] = (),
    latency: Latency | None = None,
) -> networks.Baseline:
    """Returns a baseline of about as many parameters, narrower where a limit asks.

    Args:
      name: of the baseline.
      dataset: classes and images.
      parameters: of the found network.
      dtype: of the activations.
      limits: that it keeps.
      latency: times it, where latency is limited.

    Raises:
      ValueError: one feature is too many already, or too slow.
    """
    inputs.check_images(dataset, f"the baseline {name}")
    one = baselines_lib.fit(
        name,
        dataset.num_outputs,
        dataset.image_shape,
        parameters=parameters,
        dtype=dtype,
    )
    bounds = {each.name: each.bound for each in limits}
    most = bounds.pop(limits_of_run.LATENCY_MS, None)
    if bounds:
        one = baselines_lib.narrowed(one, lambda b: not excess(_counts(b), bounds))
    if most is not None and (took := latency(one)) > most:
        raise ValueError(
            f"max_{limits_of_run.LATENCY_MS} must be at least {took:.3g} for the "
            f"baseline {name}, measured, got {limits_lib.shown(most)}. Raise it, or "
            "leave the baseline out."
        )
    return one


def _counts(one: networks.Baseline) -> dict[str, int]:
    return networks.measure(one.network(), one.image_shape)
