"""Latency predicted from operations: known costs are found, errors are honest, nothing is pickled."""

import csv
import gzip
import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from subshot.costs import _latency_predictor
from subshot.costs._latency_predictor import LatencyPredictor, PredictorError, fit_latency_predictor
from subshot.costs._latency_records import LatencyProtocol
from subshot.costs._regressors import fit_regressor, regressor_from_dict
from subshot.costs._trace import Operation, Trace, trace_architecture
from subshot.costs.latency import measure_architectures
from subshot.costs.latency_table import read_latency_table
from subshot.errors import OptionError
from subshot.spaces._space import get_space

KINDS = [
    Operation(kind, f"{kind} {side}", side, macs * side * side, 40.0 * side * side)
    for kind, macs in (("convolution 3x3 / 1", 900.0), ("convolution 1x1 / 1", 100.0), ("avg_pool2d", 0.0))
    for side in (32, 16, 8)
]


def _traces(number, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 7, size=(number, len(KINDS)))
    return [Trace(dict(zip(KINDS, row.tolist(), strict=True)), 0.0, 0, 0) for row in counts]


def _truth(trace):
    """Milliseconds: 0.3 for nothing, 5 us for a call, 1 ms for 10 M multiply-accumulates or 4 M numbers moved."""
    return 0.3 + sum(
        times * (5e-3 + operation.macs / 1e7 + operation.elements / 4e6)
        for operation, times in trace.operations.items()
    )


def test_known_costs_are_found():
    seen, fresh = _traces(60), _traces(100, seed=1)
    fitted = fit_latency_predictor(seen, [_truth(one) for one in seen])
    predicted = np.array([fitted.predict(one) for one in fresh])
    truth = np.array([_truth(one) for one in fresh])
    np.testing.assert_allclose(predicted, truth, rtol=1e-3)
    assert fitted.error.mape < 1e-3
    assert fitted.error.samples == 60
    assert fitted.error.margin == pytest.approx(1, abs=1e-3)


def test_the_reported_error_is_that_on_fresh_networks():
    rng = np.random.default_rng(2)
    seen, fresh = _traces(100), _traces(400, seed=1)
    noisy = [_truth(one) * rng.lognormal(0, 0.08) for one in seen]
    later = np.array([_truth(one) * rng.lognormal(0, 0.08) for one in fresh])
    fitted = fit_latency_predictor(seen, noisy)
    actual = PredictorError.of(np.array([fitted.predict(one) for one in fresh]), later)
    assert fitted.error.mape == pytest.approx(actual.mape, rel=0.35)
    assert 0.04 < actual.mape < 0.12  # the noise alone makes 0.064
    upper = np.array([fitted.predict(one) for one in fresh]) * fitted.error.margin
    assert 0.85 < (later <= upper).mean() <= 1


def test_latencies_that_have_nothing_to_do_with_the_network_can_not_be_predicted():
    rng = np.random.default_rng(3)
    seen = _traces(80)
    shuffled = rng.permutation([_truth(one) for one in seen]).tolist()
    assert abs(fit_latency_predictor(seen, shuffled).error.spearman) < 0.35
    assert fit_latency_predictor(seen, [_truth(one) for one in seen]).error.spearman > 0.99


def test_errors_by_hand():
    found = PredictorError.of(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 4.0, 2.0, 5.0]))
    shares = [0, 2 / 4, 1 / 2, 1 / 5]
    assert found.mape == pytest.approx(sum(shares) / 4)
    assert found.worst == 0.5
    assert found.spearman == pytest.approx(spearmanr([1, 2, 3, 4], [1, 4, 2, 5]).statistic)
    assert found.margin == 2  # the highest of the four ratios
    assert PredictorError.of(np.full(4, 9.0), np.full(4, 3.0)).margin == 1  # never below a prediction
    assert np.isnan(PredictorError.of(np.ones(3), np.ones(3)).spearman)


@pytest.mark.parametrize("method", ["ridge", "non_negative", "boosting"])
@pytest.mark.parametrize("features", ["totals", "by_size", "operations"])
def test_a_predictor_comes_back_from_json(monkeypatch, method, features):
    monkeypatch.setattr(_latency_predictor, "_CANDIDATES", ((features, method),))
    seen = _traces(40)
    fitted = fit_latency_predictor(seen, [_truth(one) for one in seen])
    again = LatencyPredictor.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    assert (again.features, again.method, again.error) == (features, method, fitted.error)
    for one in _traces(20, seed=5):
        assert again.predict(one) == fitted.predict(one)
    assert np.corrcoef([again.predict(one) for one in seen], [_truth(one) for one in seen])[0, 1] > 0.9


def test_trees_give_what_scikit_learn_gives():
    from sklearn.ensemble import GradientBoostingRegressor

    rng = np.random.default_rng(0)
    features, latency_ms = rng.random((70, 5)), rng.random(70) + 0.5
    ours = fit_regressor("boosting", features, latency_ms)
    mean = np.log(latency_ms).mean()
    theirs = GradientBoostingRegressor(
        n_estimators=100, learning_rate=0.1, max_depth=3, init="zero", random_state=0
    ).fit(features, np.log(latency_ms) - mean)
    fresh = rng.random((50, 5))
    np.testing.assert_allclose(ours.predict(fresh), np.exp(theirs.predict(fresh) + mean), rtol=1e-9)


def test_relative_errors_are_what_is_minimised():
    # Of two rows that no line through the origin meets, absolute errors would favour the slow one.
    features, latency_ms = np.array([[1.0], [100.0]] * 10), np.array([2.0, 100.0] * 10)
    fitted = fit_regressor("non_negative", features, latency_ms)
    shares = np.abs(fitted.predict(features) / latency_ms - 1)
    assert shares.max() < 1e-6  # a constant and a slope meet both
    assert (fitted.weights >= 0).all()


def test_sums_do_not_become_negative():
    rng = np.random.default_rng(0)
    features = rng.random((40, 3))
    fitted = fit_regressor("ridge", features, 5 - 4 * features[:, 0])
    assert fitted.predict(np.array([[50.0, 0, 0]]))[0] == pytest.approx((5 - 4 * features[:, 0]).min() / 10)
    assert regressor_from_dict(fitted.to_dict()).predict(features)[0] == fitted.predict(features)[0]


def test_operations_never_seen_cost_nothing_and_missing_ones_are_zero():
    seen = _traces(40)
    fitted = fit_latency_predictor(seen, [_truth(one) for one in seen])
    new = Operation("fft", "fft 8", 8, 1e9, 1e9)
    first = seen[0]
    more = Trace({**first.operations, new: 3}, 0.0, 0, 0)
    assert fitted.predict(more) == fitted.predict(first)


@pytest.mark.parametrize(
    ("latencies", "message"),
    [([1.0] * 19, "At least 20"), ([1.0] * 29 + [0.0], "aren't positive"), ([1.0] * 29 + [float("nan")], "positive")],
)
def test_bad_measurements_are_refused(latencies, message):
    with pytest.raises(OptionError, match=message):
        fit_latency_predictor(_traces(len(latencies)), latencies)


@pytest.mark.slow
def test_measured_latencies_are_predicted():
    # 40 measurements for the fit, 40 fresh architectures; processor time, so that a busy machine doesn't matter.
    space, rng = get_space("nasbench201(channels=8,cells=1)"), np.random.default_rng(0)
    archs = list({space.format(arch): arch for arch in (space.sample(rng) for _ in range(90))}.values())[:80]
    found = measure_architectures(
        space, archs, space.task, protocol=LatencyProtocol(clock="cpu", warm_up=1, rounds=4, repeats=3)
    )
    traces = [trace_architecture(space, arch, space.task) for arch in archs]
    latency_ms = [one.ms for one in found.values]
    fitted = fit_latency_predictor(traces[:40], latency_ms[:40])
    fresh = PredictorError.of(np.array([fitted.predict(one) for one in traces[40:]]), np.array(latency_ms[40:]))
    assert fresh.spearman > 0.9
    assert fresh.mape < 0.15


@pytest.mark.slow
def test_devices_of_a_published_table_are_predicted(data_root, tmp_path):
    folder = next(data_root.glob("**/nas-bench-201"), None)
    if folder is None or not (folder / "nb201_hw_nas_bench.npz").exists():
        pytest.skip("the hardware table isn't here")
    with gzip.open(folder / "nb201_accuracy.csv.gz", "rt", newline="") as stream:
        index = {row["arch_str"]: int(row["index"]) for row in csv.DictReader(stream)}
    with np.load(folder / "nb201_hw_nas_bench.npz", allow_pickle=False) as file:
        names, values = file["columns"].tolist(), file["values"]
    # Operations that lead nowhere run in eager torch and not on those devices.
    space = get_space("nasbench201")
    live = space.population("live")
    chosen = [space.format(live[row]) for row in np.random.default_rng(0).permutation(len(live))[:200].tolist()]
    devices = {"raspi4": 0.95, "fpga": 0.99, "edgegpu": 0.75}
    columns = [names.index(f"cifar10_{device}_latency") for device in devices]
    rows = [",".join([text, *map(str, values[index[text], columns])]) for text in chosen]
    table = tmp_path / "table.csv"
    table.write_text("\n".join([",".join(["arch", *devices]), *rows]) + "\n")
    traces = [trace_architecture(space, space.parse(text), space.task) for text in chosen]
    for device, least in devices.items():
        known = read_latency_table(table, space, column=device)
        measured = [known[text] for text in chosen]
        fitted = fit_latency_predictor(traces[:100], measured[:100])
        fresh = PredictorError.of(np.array([fitted.predict(one) for one in traces[100:]]), np.array(measured[100:]))
        assert fresh.spearman > least, device
