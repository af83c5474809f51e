"""The records that cross rooms: architecture, task, evaluation protocol, score, trial. Plain values without torch."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from subshot.errors import OptionError

# What a protocol may say of weights and batch norm; see networks.initialisation and proxies._prepare.
INITIALISATIONS = ("keep", "default", "normal", "kaiming")
BATCH_NORM_MODES = ("batch", "running", "off")

Status = Literal["ok", "nan", "inf", "-inf", "not_applicable", "failed"]


@dataclass(frozen=True, order=True)
class Arch:
    """An architecture as a value: hashable, ordered, picklable, without tensors or builders.

    Attributes:
        space: Registry name of the space it belongs to.
        genes: The decisions, a (nested) tuple of whole numbers in the space's own order. ``space.format(arch)`` gives
            the canonical text, which is what scores and costs are cached by.
    """

    space: str
    genes: tuple[Any, ...]


@dataclass(frozen=True)
class InputSpec:
    """One named input tensor of a network, without the batch dimension.

    Attributes:
        name: Keyword under which a network with several inputs receives it.
        shape: For example ``(3, 32, 32)`` for an image or ``(12,)`` for twelve tokens.
        dtype: Name of the torch dtype.
        vocabulary: Number of distinct values of an integer input.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    vocabulary: int | None = None


@dataclass(frozen=True)
class TaskSpec:
    """What a network is built for.

    Attributes:
        inputs: The named inputs; one input is passed positionally, several as keywords.
        outputs: Width of the output head, for a classification the number of classes.
        loss: Name of the loss: ``"cross_entropy"`` of classes, labels (S,) or, where each pixel has one, (S, H, W)
            int64; ``"mse"`` or ``"l1"`` of numbers, labels of the output's own shape, (S, K) or (S, C, H, W) float32;
            or ``"none"`` for inputs without labels.
    """

    inputs: tuple[InputSpec, ...]
    outputs: int
    loss: str = "cross_entropy"

    @classmethod
    def images(cls, channels: int, height: int, width: int, *, classes: int) -> "TaskSpec":
        """Image classification of ``channels`` x ``height`` x ``width`` pixels."""
        return cls((InputSpec("images", (channels, height, width)),), classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(channels, height, width)`` of a task with one image input.

        Raises:
            OptionError: The task has several inputs or the input is no image.
        """
        if len(self.inputs) != 1 or len(self.inputs[0].shape) != 3:
            shapes = ", ".join(f"{spec.name} {spec.shape}" for spec in self.inputs)
            raise OptionError(f"The task has the inputs {shapes}.", "This space takes one input of images (C, H, W).")
        channels, height, width = self.inputs[0].shape
        return channels, height, width


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a score was measured. Printed with every number and stored with every row.

    Attributes:
        data: Name of the input data.
        data_digest: SHA-256 (first 16 hex digits) of the very batch: inputs and labels.
        samples: How the batch was chosen: ``first`` in file order, ``random`` by the seed, or ``given`` by the caller.
        batch_size: Samples per batch.
        batches: Number of batches.
        repeats: Initialisations averaged.
        input_shape: Shape of one sample.
        variant: Which network of the space is built, for example ``official`` or ``swap_tiny``.
        network: Settings of the space, for example ``(("cells", 5), ("channels", 16))``.
        initialisation: ``keep`` the weights as they are, or re-draw: ``default`` (each layer's own rule), ``normal``
            (N(0, 1), SWAP and Zen), ``kaiming`` (normal, fan-in).
        batch_norm: ``batch`` statistics, ``running`` statistics, or ``off`` (identity). Dropout is off in every mode.
        weights: ``init``, ``given``, ``warm:<digest>`` or ``trained``.
        dtype: Floating-point type of the pass.
        device: Where it ran.
        seed: Seed of the study; each evaluation derives its own from it, the architecture's text and the repeat.
        version: Version of subshot.
    """

    data: str = "given"
    data_digest: str = ""
    samples: str = "given"
    batch_size: int = 16
    batches: int = 1
    repeats: int = 1
    input_shape: tuple[int, ...] = ()
    variant: str = ""
    network: tuple[tuple[str, bool | int | float | str | None], ...] = ()
    initialisation: str = "keep"
    batch_norm: str = "batch"
    weights: str = "init"
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, in field order."""
        values = dataclasses.asdict(self)
        values["input_shape"] = list(self.input_shape)
        values["network"] = dict(self.network)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Protocol":
        """The inverse of :meth:`to_dict`."""
        plain = dict(values)
        plain["input_shape"] = tuple(plain.get("input_shape", ()))
        plain["network"] = tuple(sorted(dict(plain.get("network", {})).items()))
        return cls(**plain)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON form."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        """One line with everything a reader needs to compare two numbers."""
        shape = "x".join(map(str, self.input_shape))
        network = ", ".join(f"{key}={value}" for key, value in self.network)
        where = f"{self.variant or 'given network'}{f' ({network})' if network else ''}"
        return (
            f"{where}; {self.data} {shape}, {self.samples} {self.batch_size} x {self.batches} batch; "
            f"initialisation {self.initialisation} x {self.repeats}, batch norm {self.batch_norm}, "
            f"weights {self.weights}; {self.dtype} on {self.device}; seed {self.seed}; subshot {self.version}"
        )


@dataclass(frozen=True)
class Cost:
    """What a score cost.

    Attributes:
        seconds: Wall time of the look that served it, shared with every proxy of the same look.
        forwards: Forward passes over one batch.
        backwards: Backward passes.
    """

    seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, self.forwards + other.forwards, self.backwards + other.backwards)


@dataclass(frozen=True)
class Score:
    """One number about one network: higher is better, always.

    Attributes:
        value: The score; NaN where there is none. A non-finite value is never replaced by a number.
        status: ``ok``, the kind of non-finite value, ``not_applicable`` or ``failed``.
        reason: Why there is no finite value.
        parts: Named raw terms, for example the number of units behind a SWAP score.
        warnings: What a reader should know before trusting the value, for example saturation.
        cost: What it took.
    """

    value: float
    status: Status = "ok"
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)

    @classmethod
    def of(
        cls,
        value: float,
        *,
        reason: str = "",
        parts: Mapping[str, float] | None = None,
        warnings: Sequence[str] = (),
        cost: Cost | None = None,
    ) -> "Score":
        """A score whose status follows from its value."""
        value = float(value)
        status: Status = "ok"
        if math.isnan(value):
            status = "nan"
        elif math.isinf(value):
            status = "inf" if value > 0 else "-inf"
        plain = {key: float(part) for key, part in (parts or {}).items()}  # of NumPy or torch they aren't JSON
        return cls(value, status, reason, plain, tuple(warnings), cost or Cost())

    @classmethod
    def failed(cls, reason: str, *, cost: Cost | None = None) -> "Score":
        """The network could not be built or looked at, or the proxy raised."""
        return cls(math.nan, "failed", reason, cost=cost or Cost())

    @classmethod
    def not_applicable(cls, reason: str, *, cost: Cost | None = None) -> "Score":
        """The proxy is not defined for this network or batch."""
        return cls(math.nan, "not_applicable", reason, cost=cost or Cost())

    @property
    def ok(self) -> bool:
        """Whether the value is finite and may be compared."""
        return self.status == "ok"

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values: a non-finite number is ``None``, with its status."""
        return {
            "value": self.value if math.isfinite(self.value) else None,
            "status": self.status,
            "reason": self.reason,
            "parts": {key: part if math.isfinite(part) else None for key, part in self.parts.items()},
            "warnings": list(self.warnings),
            "cost": dataclasses.asdict(self.cost),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Score":
        """The inverse of :meth:`to_dict` (a non-finite part comes back as NaN)."""
        value = values["value"]
        if value is None:
            value = {"inf": math.inf, "-inf": -math.inf}.get(values["status"], math.nan)
        parts = {key: math.nan if part is None else part for key, part in values["parts"].items()}
        return cls(value, values["status"], values["reason"], parts, tuple(values["warnings"]), Cost(**values["cost"]))


# One look at an architecture gives many scores, by proxy name.
Evaluation = Mapping[str, Score]


@dataclass(frozen=True)
class Trial:
    """A strategy's request to have an architecture evaluated.

    Attributes:
        id: Counts up from 0 within a strategy.
        arch: What to evaluate.
        budget: Fidelity asked for, in the evaluator's own unit; ``None`` for full fidelity.
        weights: Weights to evaluate with; ``None`` for the protocol's.
    """

    id: int
    arch: Arch
    budget: float | None = None
    weights: str | None = None
