"""Where the latency of an architecture comes from: a predictor fitted to measurements here, or a table of elsewhere."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from subshot._choice import Choice
from subshot._seeds import stable_rng
from subshot._types import Arch, TaskSpec
from subshot.costs._latency_file import add_checked, machine_name, read_latency_file, write_latency_file
from subshot.costs._latency_predictor import FEWEST, LatencyPredictor, PredictorError, fit_latency_predictor
from subshot.costs._latency_records import DRIFT, Latency, LatencyProtocol
from subshot.costs.latency_table import read_latency_table
from subshot.errors import InfeasibleError, OptionError
from subshot.spaces._space import Space, resolve_variant, space_settings

# Architectures measured unless told otherwise.
SAMPLES = 100

# Rows of a table that a predictor is fitted to at most.
_TABLE_ROWS = 300


@final
class LatencySource:
    """Predicts latencies, fitting itself when the first is asked for; measures where the device is at hand.

    Args:
        space: Whose architectures.
        task: What the networks are built for.
        variant: Which network; the one that is trained if not given.
        protocol: How latency is measured.
        samples: Architectures to measure for the predictor.
        file: Keeps the measurements and the predictor (JSON). One that is there is used instead of measuring.
        table: Latencies of another device (see :mod:`subshot.costs.latency_table`). Architectures it lacks are
            predicted by what is fitted to it.
        table_column: The table's column of latencies.
        refuse_missing: Architectures that the table lacks have no latency and meet no limit.
        seed: Seed of the architectures measured.
        on_progress: Called with the number of architectures measured and their total.

    Raises:
        OptionError: Too few samples.
        DataError: The table can't be read.
    """

    def __init__(
        self,
        space: Space,
        task: TaskSpec,
        *,
        variant: str | None = None,
        protocol: LatencyProtocol | None = None,
        samples: int = SAMPLES,
        file: Path | None = None,
        table: str | Path | None = None,
        table_column: str | None = None,
        refuse_missing: bool = False,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if samples < FEWEST:
            raise OptionError(f"{samples} samples of latency were given.", f"At least {FEWEST} are needed.")
        self._space = space
        self._task = task
        self._variant = resolve_variant(space, variant)
        self.protocol = protocol or LatencyProtocol()
        self._samples = samples
        self._file = file
        self._table = None if table is None else read_latency_table(table, space, column=table_column)
        self._table_name = None if table is None else Path(table).name
        self._refuse = refuse_missing
        self._seed = seed
        self._on_progress = on_progress
        self._predictor: LatencyPredictor | None = None
        self._here = table is None
        self._drift: float | None = None
        self._predicted: dict[str, float] = {}
        self._checked: dict[str, Latency] = {}
        self._measured: dict[str, Latency] = {}
        self._later: Path | None = None

    @property
    def measurable(self) -> bool:
        """Whether this machine is the device, so that predictions can be checked."""
        return self._here

    def latency_ms(self, arch: Arch) -> float | None:
        """The table's latency or the predicted one; ``None`` if the table lacks it and that is refused."""
        known = self._from_table(arch)
        if known is not None or (self._table is not None and self._refuse):
            return known
        return self._predict(arch)

    def upper_ms(self, arch: Arch) -> float | None:
        """Upper bound: the prediction with its margin, which holds for 95 % of architectures; a table's value as is."""
        known = self._from_table(arch)
        if known is not None or (self._table is not None and self._refuse):
            return known
        return self._predict(arch) * self._fitted().error.margin

    @property
    def error(self) -> PredictorError | None:
        """How far predictions are off; ``None`` as long as none was needed."""
        return self._predictor.error if self._predictor is not None else None

    def check(self) -> None:
        """Refuse, before anything is measured, what can't be measured.

        Raises:
            SubshotError: The device or backend isn't there, or the file is of something else.
        """
        from subshot.costs._runners import check_backend

        if self._table is None and not self._load(self._file):
            check_backend(self.protocol)

    def ready(self) -> None:
        """Measure and fit now if that is needed at all and hasn't been done.

        Raises:
            InfeasibleError: Too few architectures could be measured; the reason of one is given.
        """
        if self._table is None:
            self._fitted()

    def measure(self, archs: Sequence[Arch]) -> list[Latency] | None:
        """Measure now what this method hasn't measured before; ``None`` where this machine isn't the device."""
        from subshot.costs.latency import measure_architectures

        if not self._here:
            return None
        texts = [self._space.format(arch) for arch in archs]
        new = {text: arch for text, arch in zip(texts, archs, strict=True) if text not in self._checked}
        if new:
            found = measure_architectures(
                self._space,
                list(new.values()),
                self._task,
                variant=self._variant,
                protocol=self.protocol,
                seed=self._seed,
            )
            self._checked |= dict(zip(new, found.values, strict=True))
            if self._file is not None and self._file.exists():
                add_checked(self._file, self._checked)
        return [self._checked[text] for text in texts]

    def measured(self, arch: Arch) -> Latency | None:
        """What :meth:`measure` found of it, now or in an earlier run with the same file."""
        return self._checked.get(self._space.format(arch))

    def keep_in(self, file: Path, *, anew: bool) -> None:
        """Use this file if none was given: read at once, unless all is to start anew; written by :meth:`save`."""
        if self._file is None and self._table is None:
            if not anew:
                self._load(file)
            self._later = file

    def save(self) -> None:
        """Write the file of :meth:`keep_in`."""
        if self._later is not None:
            self._file = self._later
            if self._predictor is not None:
                self._save(self._predictor)

    def knows(self, arch: Arch) -> bool:
        """Whether the table has the architecture, so that nothing is predicted."""
        return self._from_table(arch) is not None

    def identity(self) -> dict[str, Any]:
        """What decides the latencies, but for the machine: for the settings of a study."""
        if self._table is None:
            return {"protocol": self.protocol.to_dict(), "samples": self._samples}
        text = json.dumps(sorted(self._table.items()))
        return {"table": hashlib.sha256(text.encode()).hexdigest()[:16], "refuse_missing": self._refuse}

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values: where latencies come from and how good they are."""
        predictor = self._predictor
        return {
            "table": self._table_name,
            "protocol": self.protocol.to_dict() if self._table is None else None,
            "machine": machine_name(self.protocol.device) if self._here else None,
            "features": predictor.features if predictor else None,
            "method": predictor.method if predictor else None,
            "error": predictor.error.to_dict() if predictor else None,
            "drift": self._drift,
        }

    def __str__(self) -> str:
        where = f"table {self._table_name}" if self._table is not None else str(self.protocol)
        drift = ""
        if self._drift is not None and self._drift > DRIFT:
            drift = f"; the machine's pace changed by {self._drift:.0%} meanwhile: measure again when it is idle"
        return f"{where}; {self.error or 'nothing had to be predicted'}{drift}"

    def _from_table(self, arch: Arch) -> float | None:
        return self._table.get(self._space.format(arch)) if self._table is not None else None

    def _predict(self, arch: Arch) -> float:
        from subshot.costs._trace import trace_architecture

        text, batch = self._space.format(arch), self.protocol.batch_size
        if text not in self._predicted:
            self._predicted[text] = self._fitted().predict(
                trace_architecture(self._space, arch, self._task, variant=self._variant, batch_size=batch)
            )
        return self._predicted[text]

    def _fitted(self) -> LatencyPredictor:
        if self._predictor is None and not self._load(self._file):
            self._predictor = self._fit_table() if self._table is not None else self._fit_here()
        assert self._predictor is not None
        return self._predictor

    def _fit(self, latency_ms: Mapping[Arch, float]) -> LatencyPredictor:
        from subshot.costs._trace import trace_architecture

        traces = [
            trace_architecture(
                self._space, arch, self._task, variant=self._variant, batch_size=self.protocol.batch_size
            )
            for arch in latency_ms
        ]
        return fit_latency_predictor(traces, list(latency_ms.values()), seed=self._seed)

    def _fit_table(self) -> LatencyPredictor:
        table = self._table or {}
        if len(table) < FEWEST:
            raise OptionError(
                f"{self._table_name} has {len(table)} architectures, too few to predict others by.",
                f"Give at least {FEWEST}, or refuse those that it lacks.",
            )
        texts = sorted(table)
        chosen = stable_rng(self._seed, "latency table").permutation(len(texts))[:_TABLE_ROWS]
        return self._fit({self._space.parse(texts[row]): table[texts[row]] for row in chosen.tolist()})

    def _fit_here(self) -> LatencyPredictor:
        from subshot.costs.latency import measure_architectures

        archs = self._sample()
        progress = self._on_progress
        found = measure_architectures(
            self._space,
            archs,
            self._task,
            variant=self._variant,
            protocol=self.protocol,
            seed=self._seed,
            on_progress=None if progress is None else lambda done: progress(done, len(archs)),
        )
        measured = {arch: one for arch, one in zip(archs, found.values, strict=True) if one.ok}
        failed = {arch: one.reason for arch, one in zip(archs, found.values, strict=True) if not one.ok}
        if len(measured) < FEWEST:
            reason = next(iter(failed.values()), "the space has no more architectures")
            raise InfeasibleError(
                f"Latency could be measured for {len(measured)} of {len(archs)} architectures of {self._space.name}, "
                f"too few to predict others: {reason}.",
                "Choose smaller networks, a smaller batch or another backend, or give a latency table.",
            )
        predictor = self._fit({arch: one.ms for arch, one in measured.items()})
        self._drift = found.drift
        self._measured = {self._space.format(arch): one for arch, one in zip(archs, found.values, strict=True)}
        self._save(predictor)
        return predictor

    def _sample(self) -> list[Arch]:
        """Distinct random architectures, fewer if the space has no more."""
        rng = stable_rng(self._seed, "latency samples")
        found: dict[str, Arch] = {}
        for _ in range(20 * self._samples):
            arch = self._space.sample(rng)
            found.setdefault(self._space.format(arch), arch)
            if len(found) == self._samples:
                break
        return list(found.values())

    def _identity(self) -> dict[str, Any]:
        return {
            "space": str(Choice(self._space.name, space_settings(self._space))),
            "task": asdict(self._task),
            "variant": self._variant,
            "protocol": self.protocol.to_dict(),
        }

    def _load(self, file: Path | None) -> bool:
        """Read a file if there is one."""
        if self._predictor is None and self._table is None and file is not None and file.exists():
            found = read_latency_file(file, self._identity())
            self._predictor, self._drift, self._checked = found.predictor, found.drift, dict(found.checked)
            self._here = found.machine == machine_name(self.protocol.device)
        return self._predictor is not None

    def _save(self, predictor: LatencyPredictor) -> None:
        """Write what was measured here, if anything was and there is a file to write."""
        if self._file is not None and self._drift is not None and self._measured:
            write_latency_file(
                self._file,
                self._identity(),
                machine=machine_name(self.protocol.device),
                drift=self._drift,
                measured=self._measured,
                predictor=predictor,
            )
