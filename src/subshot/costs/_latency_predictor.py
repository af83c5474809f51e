"""Predict latency from the operations of a network, fitted to a hundred measurements of a space on a device."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from subshot._seeds import stable_rng
from subshot.costs._regressors import Regressor, fit_regressor, regressor_from_dict, relative_to
from subshot.errors import OptionError

if TYPE_CHECKING:
    from subshot.costs._trace import Trace

# Fewer measurements than this can't be told from chance.
FEWEST = 20

_FOLDS = 5

# A prediction times the margin is an upper bound for this share of networks.
_CONFIDENCE = 0.95

# Which features with which regression; trees have enough of the totals.
_CANDIDATES = (
    ("totals", "ridge"),
    ("totals", "non_negative"),
    ("totals", "boosting"),
    ("by_size", "ridge"),
    ("by_size", "non_negative"),
    ("operations", "ridge"),
    ("operations", "non_negative"),
)


@dataclass(frozen=True)
class PredictorError:
    """Errors on architectures that the predictor had not seen, by cross-validation of its whole choice.

    Attributes:
        samples: Architectures measured.
        median: Median absolute error, as a share of the latency.
        mape: Mean of these.
        worst: Largest absolute error, as a share of the latency.
        spearman: Rank correlation of predicted and measured latency.
        margin: Factor that makes a prediction an upper bound for 95 % of the architectures.
    """

    samples: int
    median: float
    mape: float
    worst: float
    spearman: float
    margin: float

    @classmethod
    def of(cls, predicted: np.ndarray, measured: np.ndarray) -> "PredictorError":
        """Errors of predictions, both of shape ``(samples,)``."""
        from scipy.stats import spearmanr

        share = np.abs(predicted / measured - 1)
        varies = len(set(measured.tolist())) > 1 and len(set(predicted.tolist())) > 1
        spearman = float(spearmanr(predicted, measured).statistic) if varies else math.nan
        margin = float(np.quantile(measured / predicted, _CONFIDENCE, method="higher"))
        return cls(
            len(measured), float(np.median(share)), float(share.mean()), float(share.max()), spearman, max(1.0, margin)
        )

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON values."""
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PredictorError":
        """The inverse of :meth:`to_dict`."""
        plain: dict[str, Any] = {key: math.nan if value is None else value for key, value in values.items()}
        return cls(**plain)

    def __str__(self) -> str:
        return (
            f"fitted to {self.samples} architectures; error on unseen ones {self.mape:.1%} on average, "
            f"{self.worst:.1%} at worst, rank correlation {self.spearman:.3f}"
        )


@dataclass(frozen=True, eq=False)
class LatencyPredictor:
    """A fitted predictor.

    Attributes:
        features: How operations become numbers: ``totals`` by kind, ``by_size`` of the maps too, or each of the
            ``operations`` with its shapes.
        method: The regression.
        columns: Names of the numbers.
        regressor: What was fitted.
        error: How far it is off.
    """

    features: str
    method: str
    columns: tuple[str, ...]
    regressor: Regressor
    error: PredictorError

    def predict(self, trace: "Trace") -> float:
        """Latency (ms) of the network that was traced."""
        return float(self.regressor.predict(_matrix([trace], self.features, self.columns))[0])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "features": self.features,
            "method": self.method,
            "columns": list(self.columns),
            "regressor": self.regressor.to_dict(),
            "error": self.error.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LatencyPredictor":
        """The inverse of :meth:`to_dict`."""
        return cls(
            str(values["features"]),
            str(values["method"]),
            tuple(values["columns"]),
            regressor_from_dict(values["regressor"]),
            PredictorError.from_dict(values["error"]),
        )


def fit_latency_predictor(traces: Sequence["Trace"], latency_ms: Sequence[float], *, seed: int = 0) -> LatencyPredictor:
    """Choose features and a regression by cross-validation and fit them.

    The error is that of the whole procedure: for each fold, the choice is made anew without it.

    Args:
        traces: Networks, without repetitions.
        latency_ms: Their latencies.
        seed: Seed of the folds.

    Raises:
        OptionError: Too few networks, or latencies that aren't positive.
    """
    measured = np.asarray(latency_ms, dtype=np.float64)
    if len(traces) < FEWEST:
        raise OptionError(f"{len(traces)} latencies were given to fit a predictor.", f"At least {FEWEST} are needed.")
    if not (np.isfinite(measured) & (measured > 0)).all():
        raise OptionError("Latencies to fit a predictor were given that aren't positive.", "Leave those out.")
    columns = {
        name: tuple(sorted({column for one in traces for column in _counts(one, name)}))
        for name in dict.fromkeys(features for features, _ in _CANDIDATES)
    }
    matrices = {name: _matrix(traces, name, columns[name]) for name in columns}
    rng = stable_rng(seed, "latency predictor")
    unseen = np.empty_like(measured)
    for held_out in _folds(len(traces), rng):
        rest = {name: matrix[~held_out] for name, matrix in matrices.items()}
        features, method = _choose(rest, measured[~held_out], rng)
        fitted = fit_regressor(method, rest[features], measured[~held_out])
        unseen[held_out] = fitted.predict(matrices[features][held_out])
    features, method = _choose(matrices, measured, rng)
    regressor = fit_regressor(method, matrices[features], measured)
    return LatencyPredictor(features, method, columns[features], regressor, PredictorError.of(unseen, measured))


def _choose(matrices: Mapping[str, np.ndarray], measured: np.ndarray, rng: np.random.Generator) -> tuple[str, str]:
    """Features and regression with the lowest mean error, as a share, on held-out networks."""
    folds = list(_folds(len(measured), rng))
    against = relative_to(measured)

    def error(candidate: tuple[str, str]) -> float:
        features, method = candidate
        shares = []
        for fold in folds:
            fitted = fit_regressor(method, matrices[features][~fold], measured[~fold])
            shares.append(np.abs(fitted.predict(matrices[features][fold]) - measured[fold]) / against[fold])
        return float(np.concatenate(shares).mean())

    return min(_CANDIDATES, key=error)


def _folds(samples: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Masks of disjoint parts that together are everything."""
    part = rng.permutation(samples) % _FOLDS
    return (part == fold for fold in range(_FOLDS))


def _matrix(traces: Sequence["Trace"], features: str, columns: Sequence[str]) -> np.ndarray:
    """Counts by column; operations without a column were never measured and count nothing."""
    rows = [_counts(one, features) for one in traces]
    return np.array([[row.get(column, 0.0) for column in columns] for row in rows], dtype=np.float64)


def _counts(trace: "Trace", features: str) -> dict[str, float]:
    """The numbers of a network by name."""
    found: dict[str, float] = defaultdict(float)
    for operation, times in trace.operations.items():
        if features == "operations":
            found[operation.detail] += times
            continue
        name = operation.kind if features == "totals" else f"{operation.kind} at {operation.side}"
        found[f"{name}: calls"] += times
        found[f"{name}: elements"] += times * operation.elements
        if operation.macs:
            found[f"{name}: macs"] += times * operation.macs
    return found
