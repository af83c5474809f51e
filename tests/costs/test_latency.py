"""Measured latency: turns, intervals, failures, backends."""

import importlib
import itertools
import time

import numpy as np
import pytest
import torch
from torch import nn

from subshot._types import TaskSpec
from subshot.costs import _runners, latency
from subshot.costs._latency_options import parse_latency
from subshot.costs._latency_records import LatencyProtocol
from subshot.costs.latency import measure_architectures, measure_latencies, measure_latency
from subshot.errors import MissingDependencyError, NetworkError, OptionError, UnknownNameError
from subshot.spaces._space import get_space

TINY = TaskSpec.images(3, 8, 8, classes=2)


class _Sleeps(nn.Module):
    def __init__(self, ms, log=None, name=""):
        super().__init__()
        self.ms, self.log, self.name = ms, log, name

    def forward(self, x):
        if self.log is not None:
            self.log.append(self.name)
        time.sleep(self.ms / 1e3)
        return x


class _Breaks(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


def _conv(width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 2))


QUICK = LatencyProtocol(warm_up=1, rounds=3, repeats=2)


def test_a_known_duration_is_measured():
    found = measure_latency(_Sleeps(5), TINY, protocol=LatencyProtocol(warm_up=1, rounds=6, repeats=3))
    assert 5 <= found.low_ms <= found.ms <= found.high_ms
    assert found.ms < 15  # a busy machine wakes late
    assert found.ok


def test_the_clock_of_the_processor_does_not_count_what_others_take():
    found = measure_latency(_Sleeps(5), TINY, protocol=LatencyProtocol(warm_up=1, rounds=3, repeats=3, clock="cpu"))
    assert found.ms < 2.5


def test_networks_take_turns():
    log = []
    names = ["a", "b", "c"]
    found = measure_latencies([lambda n=n: _Sleeps(0.1, log, n) for n in names], TINY, protocol=QUICK)
    assert len(found.values) == 3
    assert found.protocol == QUICK
    warm, rest = log[:3], log[3:]
    assert warm == names  # one untimed pass each
    turn = 1 + QUICK.repeats
    rounds = [rest[start : start + 3 * turn] for start in range(0, len(rest), 3 * turn)]
    assert len(rounds) == QUICK.rounds
    orders = [[name for name, _ in itertools.groupby(one)] for one in rounds]
    assert all(sorted(order) == names for order in orders)  # whole turns, everyone once a round
    assert len({tuple(order) for order in orders}) > 1


def test_one_that_fails_does_not_stop_the_others(monkeypatch):
    builds = [
        lambda: _Sleeps(1),
        lambda: _Breaks(RuntimeError("no such kernel")),
        lambda: _Breaks(torch.OutOfMemoryError("tried to allocate 9 GB")),
        lambda: _Sleeps(1),
    ]
    done = []
    found = measure_latencies(builds, TINY, protocol=QUICK, on_progress=done.append)
    assert [one.ok for one in found.values] == [True, False, False, True]
    assert found.values[1].reason == "RuntimeError: no such kernel"
    assert found.values[2].reason == "out of memory: tried to allocate 9 GB"
    assert np.isnan(found.values[1].ms)
    assert done[-1] == 4
    with pytest.raises(NetworkError, match="can't be measured: RuntimeError: no such kernel"):
        measure_latency(builds[1](), TINY, protocol=QUICK)


def test_what_does_not_fit_the_memory_is_never_built(monkeypatch):
    space = get_space("nasbench_macro")
    archs = [space.parse("00000000"), space.parse("22222222")]
    built = []
    needs = 3_000_000  # bytes; weights of the first are 388 k x 4, those of the second 2.9 M x 4
    monkeypatch.setattr(latency, "available_bytes", lambda device: needs)
    original = type(space).build

    def build(self, arch, task=None, *, variant=None):
        if torch.empty(0).device.type != "meta":
            built.append(self.format(arch))
        return original(self, arch, task, variant=variant)

    monkeypatch.setattr(type(space), "build", build)
    state = torch.random.get_rng_state()
    found = measure_architectures(space, archs, space.task, protocol=QUICK)
    assert [one.ok for one in found.values] == [True, False]
    assert "out of memory" in found.values[1].reason
    assert "3,000,000 free" in found.values[1].reason
    assert built == ["00000000"]
    assert torch.equal(state, torch.random.get_rng_state())


def test_threads_are_put_back(monkeypatch):
    seen = []

    class Looks(nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x

    before = torch.get_num_threads()
    measure_latency(Looks(), TINY, protocol=LatencyProtocol(threads=2, warm_up=1, rounds=1, repeats=1))
    assert set(seen) == {2}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("rounds", "rank"), [(1, 1), (5, 1), (6, 1), (9, 2), (20, 6), (30, 10)])
def test_the_interval_covers_the_median_in_95_percent(rounds, rank):
    # Ranks of the textbook's sign-test interval of the median.
    found = latency._summary([float(turn) for turn in range(rounds, 0, -1)])
    assert (found.low_ms, found.high_ms) == (rank, rounds + 1 - rank)
    assert found.ms == (rounds + 1) / 2


def test_drift_is_the_change_from_the_first_half_to_the_second():
    assert latency._drift([1, 1, 5, 1, 1, 1]) == 0  # one slow round is noise
    assert latency._drift([1, 1, 1, 1.5, 1.5, 1.5]) == pytest.approx(0.5)
    assert latency._drift([1.5, 1.5, 1.5, 1, 1, 1]) == pytest.approx(0.5)
    assert latency._drift([1]) == 0
    assert latency.Latencies((), 0.11, QUICK).drifted
    assert not latency.Latencies((), 0.09, QUICK).drifted


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backend": "tensorrt"}, "Allowed: eager, compile, onnxruntime"),
        ({"clock": "sun"}, "Allowed: wall, cpu"),
        ({"threads": 0}, "threads 0 was given"),
        ({"rounds": 0}, "rounds 0"),
        ({"clock": "cpu", "threads": 2}, "with 2 threads on cpu"),
        ({"clock": "cpu", "device": "cuda"}, "on cuda"),
    ],
)
def test_protocols_are_checked(changed, message):
    with pytest.raises(OptionError, match=message):
        LatencyProtocol(**changed)


def test_protocols_as_text():
    assert parse_latency("eager") == (LatencyProtocol(), 100)
    protocol, samples = parse_latency("onnxruntime(threads=2,samples=30,batch_size=8)")
    assert (protocol, samples) == (LatencyProtocol(backend="onnxruntime", threads=2, batch_size=8), 30)
    assert str(protocol) == (
        "onnxruntime, 2 threads, batch of 8 on cpu; median of 6 rounds of 5 passes after 3, wall time"
    )
    with pytest.raises(UnknownNameError, match="Did you mean 'threads'"):
        parse_latency("eager(thread=2)")
    with pytest.raises(OptionError, match="backend 'eagre' was given"):
        parse_latency("eagre")
    with pytest.raises(OptionError, match="takes a whole number"):
        parse_latency("eager(threads=two)")


def test_a_device_that_is_not_there_is_refused():
    missing = "cuda:99"
    with pytest.raises(OptionError, match="Measure on cpu, or read a latency table"):
        measure_latency(_conv(), TINY, protocol=LatencyProtocol(device=missing))
    with pytest.raises(OptionError, match="'quantum' was given"):
        measure_latency(_conv(), TINY, protocol=LatencyProtocol(device="quantum"))


def test_without_onnx_runtime_the_message_says_how_to_get_it(monkeypatch):
    real = importlib.import_module

    def importing(name, package=None):
        if name.startswith("onnx"):
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", importing)
    with pytest.raises(MissingDependencyError, match=r"pip install 'subshot\[onnx\]'"):
        measure_latency(_conv(), TINY, protocol=LatencyProtocol(backend="onnxruntime"))


def test_a_device_that_onnx_runtime_can_not_use_is_refused(monkeypatch):
    class Runtime:
        @staticmethod
        def get_available_providers():
            return ["AzureExecutionProvider"]

    monkeypatch.setattr(_runners, "_onnx_runtime", lambda: Runtime)
    with pytest.raises(OptionError, match="can't use the device 'cpu'; it offers AzureExecutionProvider"):
        measure_latency(_conv(), TINY, protocol=LatencyProtocol(backend="onnxruntime"))


def _outputs(backend, network):
    """What the backend's runner gives, next to what eager torch gives on the same batch."""
    protocol = LatencyProtocol(backend=backend, batch_size=2)
    network = network.eval()
    ours = _runners.make_runner(network, TINY, protocol)()
    ours = ours[0] if isinstance(ours, list) else ours.numpy()
    with torch.no_grad():
        return ours, network(_runners.example(TINY, 2)["images"]).numpy()


def test_compiled_networks_do_not_displace_each_other(monkeypatch):
    # Dynamo keeps eight versions of a function and runs the ninth uncompiled, without a word.
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: original(function, backend=backend, **options))
    protocol = LatencyProtocol(backend="compile")
    runners = [_runners.make_runner(_conv(width), TINY, protocol) for width in range(1, 13)]
    for runner in runners * 2:
        runner()
    assert len(compiled) == 12


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_networks_compute_the_same():
    ours, theirs = _outputs("compile", _conv())
    np.testing.assert_allclose(ours, theirs, atol=1e-5)

    class Prints(nn.Module):
        def forward(self, x):
            return x * 2 if float(x.sum()) > 0 else x

    with pytest.raises(NetworkError, match=r"torch\.compile can't take the network"):
        measure_latency(Prints(), TINY, protocol=LatencyProtocol(backend="compile"))


@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_onnx_runtime_computes_the_same():
    pytest.importorskip("onnxruntime", exc_type=ImportError)
    pytest.importorskip("onnxscript", exc_type=ImportError)
    ours, theirs = _outputs("onnxruntime", _conv())
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert measure_latency(_conv(), TINY, protocol=LatencyProtocol(backend="onnxruntime", rounds=2)).ok


def test_the_order_of_architectures_does_not_matter_for_which_is_slower():
    space = get_space("nasbench_macro")
    archs = [space.parse("22222222"), space.parse("00000000")]
    for order in (archs, archs[::-1]):
        found = measure_architectures(
            space, order, space.task, protocol=LatencyProtocol(clock="cpu", rounds=3, repeats=2)
        )
        by_arch = dict(zip(map(space.format, order), found.values, strict=True))
        assert by_arch["00000000"].high_ms < by_arch["22222222"].low_ms
