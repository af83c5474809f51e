"""Score many architectures, keeping what is finished in a file so that a stopped experiment continues."""

import csv
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import Progress

from subshot._types import Arch, Protocol
from subshot.data import TakenBatch
from subshot.proxies._proxy import bind
from subshot.spaces._space import Space, space_settings
from subshot.studies._evaluator import ProxyEvaluator
from subshot.studies._executors import make_executor

HERE = Path(__file__).parent


def data_root() -> Path:
    """The folder of tables, or an end with a reason."""
    root = os.environ.get("SUBSHOT_DATA")
    if not root:
        sys.exit("Set SUBSHOT_DATA to the folder of benchmark tables.")
    return Path(root)


def protocol_for(space: Space, batch: TakenBatch, **settings: object) -> Protocol:
    """The protocol of a batch and a space, with settings such as ``repeats`` or ``initialisation``."""
    from subshot import __version__

    base = Protocol(
        data=batch.name,
        data_digest=batch.digest,
        samples=batch.samples,
        batch_size=len(batch.inputs),
        input_shape=tuple(batch.inputs.shape[1:]),
        variant=space.scoring_variant,
        network=tuple(sorted(space_settings(space).items())),
        initialisation="default",
        version=__version__,
    )
    return dataclasses.replace(base, **settings)  # type: ignore[arg-type]


def scores(
    name: str,
    space: Space,
    archs: Sequence[Arch],
    batch: TakenBatch,
    protocol: Protocol,
    *,
    proxies: str,
    workers: int,
) -> dict[str, np.ndarray]:
    """Scores of ``archs`` by proxy, and the first proxy's parts as ``part:<name>``; finished ones are read back."""
    digest = hashlib.sha256(json.dumps([protocol.to_dict(), proxies], sort_keys=True).encode()).hexdigest()[:12]
    path = HERE / "cache" / f"{name}-{digest}.csv"
    path.parent.mkdir(exist_ok=True)
    known: dict[str, dict[str, float]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for text, values in csv.reader(file):
                known[text] = {key: float("nan") if v is None else v for key, v in json.loads(values).items()}
    texts = [space.format(arch) for arch in archs]
    missing = [arch for arch, text in zip(archs, texts, strict=True) if text not in known]
    bound = tuple(bind(proxies))
    evaluator = ProxyEvaluator(space, batch.task, batch.inputs, bound, protocol, batch.labels)
    if missing:
        with (
            make_executor(evaluator, workers) as executor,
            path.open("a", newline="") as file,
            Progress(transient=True) as progress,
        ):
            writer = csv.writer(file)
            task = progress.add_task(f"{name} {protocol.initialisation} S={protocol.batch_size}", total=len(missing))
            for position, evaluation in executor.run(missing):
                first = evaluation[bound[0].name]
                values = {key: score.to_dict()["value"] for key, score in evaluation.items()}
                values |= {f"part:{key}": value for key, value in first.parts.items()}
                text = space.format(missing[position])
                known[text] = {key: float("nan") if v is None else v for key, v in values.items()}
                writer.writerow([text, json.dumps(values)])
                file.flush()
                progress.advance(task)
    keys = dict.fromkeys(key for text in texts for key in known[text])
    return {key: np.array([known[text].get(key, float("nan")) for text in texts]) for key in keys}
