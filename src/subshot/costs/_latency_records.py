"""Records of latency: how it was measured, and what came out."""

from dataclasses import asdict, dataclass
from typing import Any

from subshot.errors import OptionError

BACKENDS = ("eager", "compile", "onnxruntime")
CLOCKS = ("wall", "cpu")

# A reference network that becomes slower or faster by more than this share is reported.
DRIFT = 0.1


@dataclass(frozen=True, kw_only=True)
class LatencyProtocol:
    """How latency is measured. Part of every result.

    Attributes:
        backend: ``eager`` torch, ``compile`` for ``torch.compile``, or ``onnxruntime``.
        threads: Threads of one operator.
        batch_size: Samples at a time; the latency is that of the batch.
        device: Where networks run.
        warm_up: Untimed passes before anything is timed.
        rounds: Turns of each network.
        repeats: Timed passes in a turn.
        clock: ``wall`` time, or ``cpu`` time of the one thread that computes: on an idle machine they agree, and on a
            busy one the latter doesn't count the time that others had.

    Raises:
        OptionError: A value that isn't allowed.
    """

    backend: str = "eager"
    threads: int = 1
    batch_size: int = 1
    device: str = "cpu"
    warm_up: int = 3
    rounds: int = 6
    repeats: int = 5
    clock: str = "wall"

    def __post_init__(self) -> None:
        for name, given, allowed in (("backend", self.backend, BACKENDS), ("clock", self.clock, CLOCKS)):
            if given not in allowed:
                raise OptionError(f"Latency {name} {given!r} was given.", f"Allowed: {', '.join(allowed)}.")
        for name in ("threads", "batch_size", "warm_up", "rounds", "repeats"):
            if getattr(self, name) < 1:
                raise OptionError(f"Latency {name} {getattr(self, name)} was given.", "It is a number from 1 on.")
        if self.clock == "cpu" and (self.threads > 1 or not self.device.startswith("cpu")):
            raise OptionError(
                f"The clock 'cpu' was given with {self.threads} threads on {self.device}.",
                "It can time one thread on the cpu; use the clock 'wall'.",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return (
            f"{self.backend}, {threads}, batch of {self.batch_size} on {self.device}; median of {self.rounds} rounds "
            f"of {self.repeats} passes after {self.warm_up}, {self.clock} time"
        )


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass.

    Attributes:
        ms: Median; NaN where there is none.
        low_ms: Lower end of the interval of the median.
        high_ms: Upper end.
        reason: Why there is none: the network doesn't fit the memory, fails, or the backend can't take it.
    """

    ms: float
    low_ms: float
    high_ms: float
    reason: str = ""

    @classmethod
    def failed(cls, reason: str) -> "Latency":
        """No latency."""
        return cls(float("nan"), float("nan"), float("nan"), reason)

    @property
    def ok(self) -> bool:
        """Whether it was measured."""
        return not self.reason


@dataclass(frozen=True)
class Latencies:
    """Latencies that were measured together.

    Attributes:
        values: In the order of the networks.
        drift: How much the pace of the reference network changed from the first half of its rounds to the second, as a
            share.
        protocol: How they were measured.
    """

    values: tuple[Latency, ...]
    drift: float
    protocol: LatencyProtocol

    @property
    def drifted(self) -> bool:
        """Whether the machine's pace changed too much for the values to be compared."""
        return self.drift > DRIFT
