"""Choose where latencies come from by name and settings, as on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from subshot._choice import Choice, check_options
from subshot._types import TaskSpec
from subshot.costs._latency_records import LatencyProtocol
from subshot.costs._latency_source import SAMPLES, LatencySource
from subshot.errors import OptionError
from subshot.spaces._space import Space


def parse_latency(text: str | Choice) -> tuple[LatencyProtocol, int]:
    """How to measure and how many architectures, from ``eager`` or ``onnxruntime(threads=2,samples=200)``.

    Raises:
        OptionError: A backend or value that isn't allowed.
        UnknownNameError: A setting that isn't there.
    """
    choice = Choice.parse(text) if isinstance(text, str) else text
    defaults = {"samples": SAMPLES, **LatencyProtocol().to_dict()}
    defaults.pop("backend")
    options: dict[str, Any] = check_options("latency", choice.options, defaults)
    samples = int(options.pop("samples", SAMPLES))
    return LatencyProtocol(backend=choice.name, **options), samples


def latency_source(
    space: Space,
    task: TaskSpec,
    *,
    variant: str | None = None,
    latency: str | Choice | None = None,
    file: Path | None = None,
    table: str | Path | None = None,
    column: str | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> LatencySource:
    """The source that options describe; refuses now what it could not do later.

    Args:
        space: Whose architectures.
        task: What the networks are built for.
        variant: Which network; the one that is trained if not given.
        latency: How to measure, as text; eager torch on one thread if not given.
        file: Keeps measurements and predictor.
        table: Latencies of another device.
        column: The table's column.
        seed: Seed of the architectures measured.
        on_progress: Called with the number of architectures measured and their total.

    Raises:
        SubshotError: An option, a file or a table that can't be used, or a device or backend that isn't there.
    """
    if table is not None and (latency is not None or file is not None):
        raise OptionError(
            "A latency table was given together with a way to measure or a file of measurements.",
            "Give one or the other: a table's latencies are those of its device.",
        )
    if column is not None and table is None:
        raise OptionError(f"The latency column {column!r} was given without a table.", "Give the table too.")
    protocol, samples = parse_latency(latency or "eager")
    source = LatencySource(
        space,
        task,
        variant=variant,
        protocol=protocol,
        samples=samples,
        file=file,
        table=table,
        table_column=column,
        seed=seed,
        on_progress=on_progress,
    )
    source.check()
    return source
