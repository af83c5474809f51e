"""``subshot profile``: what the networks of a space cost, before any search."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from subshot.cli._options import ImageSize, Json, MaxMacs, MaxParams, Seed, SpaceName
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
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show what the smallest, middle and largest networks of a space cost, and whether limits can be met."""
    from subshot.costs._limits import Limits
    from subshot.costs.profile import profile as measure
    from subshot.spaces._space import get_space, resolve_variant

    chosen = get_space(space)
    network = resolve_variant(chosen, variant)
    task = chosen.task
    if data is not None:
        from subshot.data import load_images

        task = load_images(data, limit=1_000).task()
    task = _changed(task, image_size, classes)
    limits = Limits.of(params=max_params, macs=max_macs)
    found = measure(chosen, task, variant=network, limits=limits, seed=seed)
    nearest = chosen.format(found.smallest)
    if as_json:
        ranges = {
            name: {"min": spread.minimum, "median": spread.median, "max": spread.maximum}
            for name, spread in found.ranges.items()
        }
        print_json(
            {"space": chosen.name, "variant": network, "size": chosen.size, **ranges, "feasible": found.feasible}
            | {"measured": found.measured, "exact": found.exact, "nearest": nearest}
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
    if found.feasible is not None:
        verdict = "can be met" if found.feasible else "can't be met"
        console.print(f"Limits {limits} {verdict}; nearest: {nearest}", highlight=False, markup=False, soft_wrap=True)


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
