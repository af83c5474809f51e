"""``subshot export``: the trained network in a form that other programs take."""

from pathlib import Path
from typing import Annotated

import typer

from subshot.cli._options import Json
from subshot.cli._output import print_json, result_console


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, after 'subshot train'.", show_default=False)],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="'onnx'; 'safetensors', weights with a Python file that needs torch alone; 'torch', a program of "
            "torch.export.",
        ),
    ] = "safetensors",
    as_json: Json = False,
) -> None:
    """Write the trained network of a run as ONNX, as a program of torch, or as weights with plain code.

    What is written is compared with the network and timed, one sample on the CPU.
    """
    from subshot.export.winner import export_winner

    done = export_winner(run, format=format)
    if as_json:
        print_json(
            {
                "file": str(done.file),
                "max_abs_difference": done.max_abs_difference,
                "latency_ms": round(done.latency_ms, 4),
            }
        )
        return
    told = f"differs by {done.max_abs_difference:.2g} from the network, {done.latency_ms:.3g} ms for one sample"
    console = result_console(as_json=False)
    console.print(f"{done.file}: {told}", highlight=False, markup=False, soft_wrap=True)
