"""``subshot rank``: how proxies order architectures that were trained, and how good their first choices are."""

from pathlib import Path
from typing import Annotated

import typer

from subshot.cli._command import KeptCommand
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
    usable_cores,
)
from subshot.cli._output import error_console, print_json, result_console
from subshot.cli._tracking import together


def rank(
    context: typer.Context,
    table: Annotated[
        str, typer.Option("--table", help="A registered table, or a .csv, .csv.gz or .parquet.", show_default=False)
    ],
    space: Annotated[
        str | None,
        typer.Option("--space", help="Search space, with settings where wanted.", show_default="the table's"),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            help="Column of true values; several, repeated or by commas, or 'all'.",
            show_default="the only one",
        ),
    ] = None,
    proxy: Annotated[
        str | None, typer.Option("--proxy", help="Proxies, by commas, or 'all'.", show_default="swap")
    ] = None,
    scores: Annotated[
        str,
        typer.Option("--scores", help="Columns of the table that are scores; nothing is built.", show_default=False),
    ] = "",
    aggregate: Annotated[
        str, typer.Option("--aggregate", help="Aggregators of the proxies, by commas.", show_default=False)
    ] = "",
    archs: Annotated[
        str,
        typer.Option(
            "--archs", help="'all', a population ('live'), a number of random ones ('1000', 'live:1000'), or a file."
        ),
    ] = "all",
    arch_column: Annotated[
        str | None,
        typer.Option("--arch-column", help="Column of architectures.", show_default="'arch', or what the space reads"),
    ] = None,
    minimize: Annotated[
        bool | None,
        typer.Option("--minimize/--maximize", help="Which true values are good.", show_default="as the table says"),
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(
            "--within",
            help="Look inside a limit too: 'params:0.3M-0.6M', 'macs<=50M', or a column of the table; repeat for more.",
            show_default=False,
        ),
    ] = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(
            "--bands",
            help="Look inside adjoining bands with equally many architectures: 'params:4'; repeat for more.",
            show_default=False,
        ),
    ] = None,
    data: Data = "mnist_sample",
    variant: Variant = None,
    batch_size: BatchSize = 16,
    samples: Samples = "random",
    unreal: Unreal = "none",
    image_size: ImageSize = None,
    repeats: Repeats = 1,
    init: Annotated[str, typer.Option("--init", help="Weights: 'default', 'normal' or 'kaiming'.")] = "default",
    bn_mode: BatchNormMode = "batch",
    weights: Weights = None,
    again: Annotated[
        int,
        typer.Option("--again", min=0, help="Networks to score with a second seed: does a proxy agree with itself?"),
    ] = 50,
    seed: Seed = 0,
    device: Device = "cpu",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes.", show_default="all cores, 1 for a GPU")
    ] = None,
    executor: Annotated[str, typer.Option("--executor", help="'auto', 'serial' or 'processes'.")] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder.", show_default="runs/<hash of the settings>")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; an old run is moved aside.")] = False,
    as_json: Json = False,
) -> None:
    """Rank proxies against a table of trained architectures.

    Correlations and the quality of first choices with 95 % intervals, beside parameters, MACs and how far two training
    seeds agree. The same settings continue an unfinished run. The run folder gets the scores of every architecture and
    a report; another result in it is set aside.
    """
    from subshot.report.html import plotly_is_there, write_html
    from subshot.report.ranking import RankingProgress, show_ranking, write_report
    from subshot.studies.ranking import LOOK, refuse_look
    from subshot.studies.ranking import rank as run_rank

    if scores:
        # Also those given as they are by default, which the library can't tell from those that weren't given.
        refuse_look([f"--{name.replace('_', '-')}" for name in LOOK if _given(context, name)])
    kept = KeptCommand("rank")
    with RankingProgress(error_console()) as progress:
        report = run_rank(
            space,
            table=table,
            target=target,
            proxies=proxy,
            aggregates=aggregate,
            scores=scores,
            archs=archs,
            arch_column=arch_column,
            minimize=minimize,
            within=within or (),
            bands=bands or (),
            data=data,
            variant=variant,
            batch_size=batch_size,
            samples=samples,
            unreal=unreal,
            image_size=None if image_size is None else (image_size, image_size),
            repeats=repeats,
            init=init,
            bn_mode=bn_mode,
            weights=weights,
            again=again,
            seed=seed,
            device=device,
            workers=workers or (usable_cores() if device == "cpu" and not scores else 1),
            executor=executor,
            out=out if out is not None else lambda digest: Path("runs") / digest,
            fresh=fresh,
            on_start=kept.on_start,
            on_progress=together(kept.on_progress, progress.update),
        )
    write_report(report)
    if report.run is not None and plotly_is_there():
        write_html(report.run)
    if as_json:
        print_json(report.to_dict())
    show_ranking(report, result_console(as_json=as_json))


def _given(context: typer.Context, name: str) -> bool:
    """Whether an option stands in the command."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
