"""Regressions of latency on counts, as plain numbers that can be written to a file.

All minimise relative error: a millisecond matters more to a fast network. Some compilers remove nearly all of a network
that computes nothing, so errors count relative to a fifth of the median latency at least: else such networks, whose
operations say nothing of their time, would decide the fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

METHODS = ("ridge", "non_negative", "boosting")


class Regressor(Protocol):
    """A fitted regression."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Latency (ms) of each row."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ...


@dataclass(frozen=True, eq=False)
class Linear:
    """A sum of costs per unit.

    Attributes:
        constant: Latency of nothing (ms).
        weights: Cost of a unit of each feature, shape ``(features,)``.
        floor: Lowest prediction: a sum with negative terms may leave what is possible.
    """

    constant: float
    weights: np.ndarray
    floor: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Latency (ms) of each row."""
        latency_ms: np.ndarray = np.maximum(self.constant + features @ self.weights, self.floor)
        return latency_ms

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "linear", "constant": self.constant, "weights": self.weights.tolist(), "floor": self.floor}


@dataclass(frozen=True, eq=False)
class Trees:
    """A sum of regression trees that give the logarithm.

    Attributes:
        constant: Logarithm before any tree.
        rate: Factor of each tree's value.
        trees: For each tree its nodes: ``feature``, ``threshold``, ``left``, ``right`` (-1 at a leaf) and ``value``.
    """

    constant: float
    rate: float
    trees: tuple[Mapping[str, list[float]], ...]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Latency (ms) of each row."""
        features = features.astype(np.float32)  # the precision in which the thresholds were chosen
        total = np.full(len(features), self.constant)
        rows = np.arange(len(features))
        for tree in self.trees:
            column, left, right = (np.asarray(tree[name], dtype=np.int64) for name in ("feature", "left", "right"))
            threshold, value = (np.asarray(tree[name], dtype=np.float64) for name in ("threshold", "value"))
            node = np.zeros(len(features), dtype=np.int64)
            while (inner := left[node] >= 0).any():
                goes_left = features[rows, column[node]] <= threshold[node]
                node = np.where(inner, np.where(goes_left, left[node], right[node]), node)
            total += self.rate * value[node]
        latency_ms: np.ndarray = np.exp(total)
        return latency_ms

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": "trees", "constant": self.constant, "rate": self.rate, "trees": list(map(dict, self.trees))}


def regressor_from_dict(values: Mapping[str, Any]) -> Regressor:
    """The inverse of ``to_dict``."""
    if values["kind"] == "linear":
        return Linear(float(values["constant"]), np.asarray(values["weights"], dtype=float), float(values["floor"]))
    return Trees(float(values["constant"]), float(values["rate"]), tuple(values["trees"]))


def fit_regressor(method: str, features: np.ndarray, latency_ms: np.ndarray) -> Regressor:
    """Fit one of :data:`METHODS`.

    Args:
        method: Which.
        features: Shape ``(samples, features)``, none negative.
        latency_ms: Shape ``(samples,)``, positive.
    """
    return _boosting(features, latency_ms) if method == "boosting" else _linear(method, features, latency_ms)


def relative_to(latency_ms: np.ndarray) -> np.ndarray:
    """What an error of each latency is compared with."""
    against: np.ndarray = np.maximum(latency_ms, np.median(latency_ms) / 5)
    return against


def _linear(method: str, features: np.ndarray, latency_ms: np.ndarray) -> Linear:
    from sklearn.linear_model import LinearRegression, RidgeCV

    scale = features.max(axis=0)
    scale[scale == 0] = np.inf  # what never occurs has no cost
    # Divided by what errors are relative to, a row's constant becomes a column of its own and the target mostly 1.
    against = relative_to(latency_ms)
    unit = float(np.median(latency_ms))
    rows = np.column_stack([np.ones(len(features)), features / scale]) * (unit / against)[:, None]
    target = latency_ms / against
    if method == "ridge":
        fitted = RidgeCV(alphas=np.logspace(-6, 2, 17), fit_intercept=False).fit(rows, target)
    else:
        fitted = LinearRegression(positive=True, fit_intercept=False).fit(rows, target)
    constant, *weights = fitted.coef_ * unit
    return Linear(float(constant), np.array(weights) / scale, float(latency_ms.min()) / 10)


def _boosting(features: np.ndarray, latency_ms: np.ndarray) -> Trees:
    from sklearn.ensemble import GradientBoostingRegressor

    target = np.log(relative_to(latency_ms))  # of what takes no time there is no logarithm to speak of
    fitted = GradientBoostingRegressor(
        n_estimators=100, learning_rate=0.1, max_depth=3, init="zero", random_state=0
    ).fit(features, target - target.mean())
    names = {
        "feature": "feature",
        "threshold": "threshold",
        "left": "children_left",
        "right": "children_right",
    }
    trees = []
    for (one,) in fitted.estimators_:
        tree = {name: getattr(one.tree_, theirs).tolist() for name, theirs in names.items()}
        trees.append(tree | {"value": one.tree_.value[:, 0, 0].tolist()})
    return Trees(float(target.mean()), float(fitted.learning_rate), tuple(trees))
