import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from subshot.errors import OptionError
from subshot.supernets.evaluate import evaluate_paths
from subshot.supernets.recalibrate import recalibrate


@pytest.fixture
def calibration():
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(size, 3, 8, 8, generator=generator) for size in (8, 8, 4)]


def test_recalibrated_statistics_are_the_averages_over_the_batches(calibration):
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    network[0].running_mean.fill_(7)
    recalibrate(network, calibration)
    means = torch.stack([images.mean(dim=(0, 2, 3)) for images in calibration]).mean(dim=0)
    variances = torch.stack([images.var(dim=(0, 2, 3)) for images in calibration]).mean(dim=0)
    torch.testing.assert_close(network[0].running_mean, means)
    torch.testing.assert_close(network[0].running_var, variances)
    assert network[0].momentum == 0.1
    assert network.training


def test_recalibration_of_a_path_is_that_of_the_stand_alone_network(supernet, rng, calibration):
    arch = supernet.space.sample(rng)
    path = supernet.path(arch)
    alone = supernet.extract(arch)
    before = copy.deepcopy(supernet.network.state_dict())
    recalibrate(alone, calibration)
    recalibrate(supernet, calibration, path=path)
    extracted = supernet.extract(arch).state_dict()
    assert all(torch.equal(value, extracted[name]) for name, value in alone.state_dict().items())
    executed = set(supernet.network.executed(path))
    modules = dict(supernet.network.named_modules())
    changed = {name for name, value in supernet.network.state_dict().items() if not torch.equal(value, before[name])}
    assert {modules[name.rpartition(".")[0]] for name in changed} <= executed
    assert all("running" in name or "num_batches" in name for name in changed)
    assert changed


def test_recalibration_needs_batches_and_the_right_path(cells, calibration):
    path = dict.fromkeys(cells.options, (3,))
    with pytest.raises(OptionError, match="no batch"):
        recalibrate(cells, [], path=path)
    with pytest.raises(OptionError, match="without a path"):
        recalibrate(cells, calibration)
    with pytest.raises(OptionError, match="with a path"):
        recalibrate(nn.BatchNorm2d(3), calibration, path=path)


@pytest.mark.parametrize("how", ["batch", "running", "recalibrated"])
def test_paths_are_evaluated_as_stand_alone_networks_would_be(supernet, how, rng, batch, calibration):
    images, labels = batch
    with torch.no_grad():
        supernet(images, supernet.full_path())
    archs = [supernet.space.sample(rng) for _ in range(4)]
    state = copy.deepcopy(supernet.state_dict())
    given = calibration if how == "recalibrated" else []
    mixed = [archs[0], *(supernet.path(arch) for arch in archs[1:])]
    results = evaluate_paths(supernet, mixed, batch=batch, batch_norm=how, calibration=given)
    assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())
    assert supernet.training
    for arch, result in zip(archs, results, strict=True):
        alone = supernet.extract(arch)
        if how == "recalibrated":
            recalibrate(alone, calibration)
        outputs = alone.train(how == "batch")(images).detach()
        assert result.loss == float(F.cross_entropy(outputs, labels))
        assert result.accuracy == pytest.approx(float((outputs.argmax(dim=1) == labels).float().mean()))
    assert len({result.loss for result in results}) > 1


def test_a_thousand_paths_build_no_module(cells, rng, batch, monkeypatch):
    paths = [cells.sample_path(rng) for _ in range(1000)]

    def refuse(*_):
        raise AssertionError("a module was built")

    monkeypatch.setattr(nn.Module, "__init__", refuse)
    results = evaluate_paths(cells, paths, batch=(batch[0][:2], batch[1][:2]))
    assert len(results) == 1000


def test_settings_that_do_not_belong_together(cells, batch, calibration):
    with pytest.raises(OptionError, match="no batch-norm mode 'none'"):
        evaluate_paths(cells, [], batch=batch, batch_norm="none")
    with pytest.raises(OptionError, match="recalibrated, with 0"):
        evaluate_paths(cells, [], batch=batch, batch_norm="recalibrated")
    with pytest.raises(OptionError, match="batch, with 3"):
        evaluate_paths(cells, [], batch=batch, calibration=calibration)
