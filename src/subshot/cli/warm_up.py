"""``subshot warm-up``: train a space's supernet for a while, to compare its networks with learnt weights."""

from pathlib import Path
from typing import Annotated, Any

import typer

from subshot.cli._options import Data, Device, ImageSize, Json, Seed, SpaceName, Variant
from subshot.cli._output import add_row, error_console, number, print_json, result_console, table
from subshot.errors import OptionError


def warm_up(
    space: SpaceName = "nasbench201",
    share: Annotated[
        float | None, typer.Option("--share", help="Samples that pass, as a share of the data: 0.01 is 1 %.")
    ] = None,
    passed: Annotated[int | None, typer.Option("--passed", min=1, help="The same as a number of samples.")] = None,
    data: Data = "mnist_sample",
    sampler: Annotated[
        str,
        typer.Option(
            "--sampler", help="Which paths a step trains: 'uniform', 'strictly_fair', 'full_path_mix', 'sandwich'."
        ),
    ] = "uniform",
    optimiser: Annotated[str, typer.Option("--optimiser", help="'sgd', 'adam' or 'adagrad'.")] = "sgd",
    lr: Annotated[float, typer.Option("--lr", help="Highest learning rate.")] = 0.025,
    schedule: Annotated[str, typer.Option("--schedule", help="'cosine' or 'constant'.")] = "cosine",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Samples of a step.")] = 64,
    variant: Variant = None,
    image_size: ImageSize = None,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", help="File of the supernet.", show_default="supernets/<hash>.safetensors")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a supernet on a small share of the data, for '--weights' of search, rank and score.

    An interrupted warm-up continues with the same command and ends with the same weights.
    """
    import hashlib
    import json
    from dataclasses import asdict

    from subshot._choice import Choice
    from subshot._types import Protocol
    from subshot.data import take_batch
    from subshot.report.html import plotly_is_there, write_html
    from subshot.report.warm_up import WarmUpProgress, warm_up_cost
    from subshot.spaces._space import folder_size, get_space, resolve_variant, space_settings
    from subshot.studies._check import check_protocol
    from subshot.studies._executors import one_thread
    from subshot.studies._warm import refuse_another
    from subshot.supernets._supernet import make_supernet
    from subshot.supernets.files import load_supernet, save_supernet
    from subshot.supernets.warm_up import WarmUp
    from subshot.supernets.warm_up import warm_up as run
    from subshot.training._recipe import Recipe

    if (share is None) == (passed is None):
        raise OptionError("A warm-up takes --share or --passed.", "Give one of the two: --share 0.01, for example.")
    recipe = Recipe(optimiser=optimiser, lr=lr, schedule=schedule, batch_size=batch_size)
    plan = WarmUp(share=share, samples=passed, sampler=sampler, recipe=recipe, seed=seed)
    made = get_space(space)
    size = None if image_size is None else (image_size, image_size)
    batch = take_batch(data, 1, samples="first", seed=seed, image_size=size, folder_size=folder_size(made))
    chosen = resolve_variant(made, variant)
    said_space = str(Choice(made.name, space_settings(made)))
    if out is None:
        said = [said_space, chosen, asdict(batch.task), batch.digest, asdict(plan)]
        out = Path("supernets") / f"{hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]}.safetensors"
    check_protocol(Protocol(device=device))
    if out.exists():
        _, header = load_supernet(out)
        refuse_another(out, header["warm_up"], plan, space=said_space, variant=chosen, data=batch.name, task=batch.task)
    else:
        supernet = make_supernet(made, batch.task, variant=chosen, seed=seed).to(device)
        with WarmUpProgress(error_console()) as progress, one_thread():
            checkpoint = out.with_name(f"{out.stem}.checkpoint.safetensors")
            done = run(supernet, data, plan=plan, checkpoint=checkpoint, on_step=progress.update)
        save_supernet(supernet, out, warmed_up=done)
        checkpoint.unlink(missing_ok=True)
        _, header = load_supernet(out)
    cost: dict[str, Any] = header["warm_up"] or {}
    if as_json:
        values = {key: cost.get(key) for key in ("samples", "steps", "passes", "macs", "seconds", "loss", "settings")}
        print_json({"checkpoint": str(out), "digest": header["digest"], **values})
        return
    shown = table("what", "value", numbers=("value",))
    for name in ("steps", "samples", "passes", "macs", "seconds", "loss"):
        add_row(shown, name, number(cost.get(name), 4))
    console = result_console(as_json=False)
    console.print(shown)
    lines = [f"Supernet: {out}. Use it: --weights {out}"]
    if cost:
        lines.insert(0, warm_up_cost(cost))
    if plotly_is_there():
        lines.append(f"Report: {write_html(out)}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
