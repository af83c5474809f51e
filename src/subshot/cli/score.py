"""``subshot score``: proxies of single networks, from a space, a Python file, timm or torchvision."""

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subshot.cli._options import (
    BatchNormMode,
    BatchSize,
    Data,
    Device,
    ImageSize,
    Json,
    Repeats,
    Samples,
    Seed,
    Unreal,
    Variant,
    Weights,
)
from subshot.cli._output import add_row, number, print_json, result_console, table

if TYPE_CHECKING:
    from rich.console import Console


def score(
    targets: Annotated[
        list[str],
        typer.Argument(help="SPACE:ARCH, FILE.py:FUNCTION, timm:NAME or torchvision:NAME.", show_default=False),
    ],
    proxy: Annotated[str, typer.Option("--proxy", help="Proxies, by commas, or 'all'.")] = "swap,parameters,macs",
    data: Data = "mnist_sample",
    batch_size: BatchSize = 16,
    samples: Samples = "random",
    unreal: Unreal = "none",
    image_size: ImageSize = None,
    repeats: Repeats = 1,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            help="Weights: 'keep', 'default', 'normal' or 'kaiming'.",
            show_default="default for a space's networks, keep for others",
        ),
    ] = None,
    bn_mode: BatchNormMode = "batch",
    weights: Weights = None,
    variant: Variant = None,
    preset: Annotated[
        str,
        typer.Option("--preset", help="'shared': one protocol for all; 'paper': each proxy's own, where it has one."),
    ] = "shared",
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Score networks without training them.

    A function in a Python file takes no arguments and returns a torch module; it is scored with the weights it has.
    """
    from subshot.studies.targets import score_targets

    with contextlib.redirect_stdout(sys.stderr):  # what a user's network prints is no result
        scored = score_targets(
            targets,
            proxies=proxy,
            data=data,
            batch_size=batch_size,
            samples=samples,
            unreal=unreal,
            image_size=image_size,
            repeats=repeats,
            init=init,
            bn_mode=bn_mode,
            weights=weights,
            variant=variant,
            seed=seed,
            device=device,
            preset=preset,
        )
    if as_json:
        entries: list[dict[str, Any]] = [
            {
                "target": one.target,
                "protocol": one.protocol.to_dict(),
                "proxies": {name: value.to_dict() for name, value in one.scores.items()},
            }
            for one in scored
        ]
        print_json({"protocol": _common([one.protocol.to_dict() for one in scored]), "scores": entries})
        return
    console = result_console(as_json=False)
    protocols = {str(one.protocol) for one in scored}
    for one in scored:
        console.print(one.target, style="bold", highlight=False, markup=False, soft_wrap=True)
        made = table("proxy", "score", "status", "note", numbers=("score",))
        for name, value in one.scores.items():
            note = "; ".join([*([value.reason] if value.reason else []), *value.warnings])
            add_row(made, name, number(value.value), value.status, note)
        console.print(made)
        if len(protocols) > 1:
            _print_protocol(console, str(one.protocol))
    if len(protocols) == 1:
        _print_protocol(console, protocols.pop())


def _print_protocol(console: "Console", text: str) -> None:
    console.print(f"Protocol: {text}", style="dim", highlight=False, markup=False, soft_wrap=True)


def _common(protocols: list[dict[str, Any]]) -> dict[str, Any]:
    """What all protocols share; ``None`` where they differ, which each target's own protocol tells."""
    first = protocols[0]
    return {key: value if all(one[key] == value for one in protocols) else None for key, value in first.items()}
