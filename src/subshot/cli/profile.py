"""``subshot profile``: what the networks of a space cost, before any search."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from subshot.cli._options import (
    ImageSize,
    Json,
    Latency,
    LatencyColumn,
    LatencyFile,
    LatencyTable,
    MaxLatency,
    MaxMacs,
    MaxParams,
    MaxPeakBytes,
    Seed,
    SpaceName,
)
from subshot.cli._output import add_row, number, print_json, result_console, table

if TYPE_CHECKING:
    from subshot._types import TaskSpec


def profile(
    space: SpaceName = "nasbench201",
    data: Annotated[
        str | None,
        typer.Option("--data", help="Data that sets input size and classes.", show_default="the space's"),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option("--variant", help="Which network of the space.", show_default="the one that is trained"),
    ] = None,
    image_size: ImageSize = None,
    classes: Annotated[
        int | None, typer.Option("--classes", min=1, help="Outputs of the network.", show_default="the data's")
    ] = None,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_peak_bytes: MaxPeakBytes = None,
    max_latency_ms: MaxLatency = None,
    also: Annotated[
        str, typer.Option("--costs", help="Further costs to show, by commas: 'peak_bytes', 'latency_ms'.")
    ] = "",
    latency: Latency = None,
    latency_file: LatencyFile = None,
    latency_table: LatencyTable = None,
    latency_column: LatencyColumn = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show what the smallest, middle and largest networks of a space cost, and whether limits can be met."""
    from subshot.costs._limits import Limits, shown
    from subshot.costs.profile import further_costs
    from subshot.costs.profile import profile as measure
    from subshot.spaces._space import get_space, resolve_variant

    chosen = get_space(space)
    network = resolve_variant(chosen, variant)
    task = chosen.task
    if data is not None:
        from subshot.data import load_images

        task = load_images(data, limit=1_000).task()
    task = _changed(task, image_size, classes)
    limits = Limits.of(params=max_params, macs=max_macs, peak_bytes=max_peak_bytes, latency_ms=max_latency_ms)
    wanted = further_costs(also)
    source = None
    if "latency_ms" in {*wanted, *limits.bounds} or any((latency, latency_file, latency_table, latency_column)):
        from subshot.costs._latency_options import latency_source

        source = latency_source(
            chosen,
            task,
            variant=network,
            latency=latency,
            file=latency_file,
            table=latency_table,
            column=latency_column,
            seed=seed,
        )
    found = measure(chosen, task, variant=network, limits=limits, also=wanted, latency=source, seed=seed)
    nearest = chosen.format(found.smallest)
    if as_json:
        ranges = {
            name: {"min": spread.minimum, "median": spread.median, "max": spread.maximum}
            for name, spread in found.ranges.items()
        }
        print_json(
            {"space": chosen.name, "variant": network, "size": chosen.size, **ranges, "feasible": found.feasible}
            | {"measured": found.measured, "exact": found.exact, "looked_at": found.looked_at, "nearest": nearest}
            | {"latency": source.to_dict() if source else None}
        )
        return
    console = result_console(as_json=False)
    made = table("cost", "min", "median", "max", numbers=("min", "median", "max"))
    for name, spread in found.ranges.items():
        add_row(made, name, number(spread.minimum), number(spread.median), number(spread.maximum))
    console.print(made)
    how = "all measured" if found.exact else f"median of {found.measured:,} random ones, ends by walks towards them"
    shapes = ", ".join(str(spec.shape) for spec in task.inputs)
    console.print(
        f"{chosen.name}: {chosen.size:.4g} architectures, {how}; "
        f"network {network}, input {shapes}, {task.outputs} classes"
    )
    if found.looked_at:
        console.print(f"Other costs than params and macs: median of {found.looked_at:,} random ones, ends by walks")
    if source is not None:
        console.print(f"Latency: {source}", highlight=False, markup=False)
    if found.feasible is not None:
        verdict = "can be met" if found.feasible else "can't be met"
        costs = ", ".join(f"{name} {shown(name, found.smallest_costs[name])}" for name in sorted(limits.bounds))
        text = f"Limits {limits} {verdict}; nearest: {nearest} with {costs}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _changed(task: "TaskSpec", image_size: int | None, classes: int | None) -> "TaskSpec":
    """The task with another image size or number of classes; tiles of an image are images too.

    Raises:
        OptionError: An image size for a task without images.
    """
    from subshot.errors import OptionError

    if classes is not None:
        task = replace(task, outputs=classes)
    if image_size is None:
        return task
    inputs = tuple(
        replace(spec, shape=(*spec.shape[:-2], image_size, image_size)) if len(spec.shape) >= 3 else spec
        for spec in task.inputs
    )
    if not any(len(spec.shape) >= 3 for spec in inputs):
        shapes = ", ".join(f"{spec.name} {spec.shape}" for spec in inputs)
        raise OptionError(f"An image size was given, and the input is {shapes}.", "Leave --image-size out.")
    return replace(task, inputs=inputs)
