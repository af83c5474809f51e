import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from subshot.errors import OptionError
from subshot.training._augment import cutout, flip_crop, mixup
from subshot.training._objective import Batch, judge, loss_named, metric_of, objective
from subshot.training._recipe import Recipe
from subshot.training._samples import Samples

OUTPUTS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
LABELS = torch.tensor([0, 1])


def test_mixed_labels_share_the_loss():
    lowered = objective("cross_entropy", Recipe())
    batch = Batch(OUTPUTS, LABELS, partners=torch.tensor([2, 2]), share=0.3)
    by_hand = torch.full((2, 3), 0.0)
    by_hand[0, 0] = by_hand[1, 1] = 0.3
    by_hand[:, 2] += 0.7
    assert float(lowered(OUTPUTS, batch)) == pytest.approx(
        float(-(by_hand * OUTPUTS.log_softmax(1)).sum(1).mean()), rel=1e-6
    )


def test_smoothing_spreads_a_share_over_all_classes():
    lowered = objective("cross_entropy", Recipe(label_smoothing=0.3))
    target = torch.full((2, 3), 0.1) + 0.7 * F.one_hot(LABELS, 3)
    assert float(lowered(OUTPUTS, Batch(OUTPUTS, LABELS))) == pytest.approx(
        float(-(target * OUTPUTS.log_softmax(1)).sum(1).mean()), rel=1e-6
    )
    with pytest.raises(OptionError, match="Label smoothing"):
        objective("mse", Recipe(label_smoothing=0.1))


def test_a_student_that_agrees_loses_nothing_by_the_teacher():
    recipe = Recipe(distillation=1.0, temperature=2.0)
    lowered = objective("cross_entropy", recipe)
    assert float(lowered(OUTPUTS, Batch(OUTPUTS, LABELS, taught=OUTPUTS + 5))) == pytest.approx(0, abs=1e-6)
    taught = torch.zeros(2, 3)
    uniform = torch.full((2, 3), 1 / 3)
    by_hand = 4 * (uniform * (uniform.log() - (OUTPUTS / 2).log_softmax(1))).sum(1).mean()
    assert float(lowered(OUTPUTS, Batch(OUTPUTS, LABELS, taught=taught))) == pytest.approx(float(by_hand), rel=1e-5)
    values = torch.tensor([[1.0], [3.0]])
    regression = objective("mse", Recipe(distillation=0.5))
    batch = Batch(values, torch.zeros(2, 1), taught=torch.ones(2, 1))
    assert float(regression(values, batch)) == pytest.approx(0.5 * (1 + 9) / 2 + 0.5 * 4 / 2)


@pytest.mark.parametrize(
    ("loss", "outputs", "labels", "value"),
    [
        ("cross_entropy", OUTPUTS, LABELS, [1.0, 0.0]),
        ("cross_entropy", torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), torch.tensor([[[0, 0]]]), [0.5]),
        ("mse", torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 4.0]), [1.0, 4.0]),
        ("mse", torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]]), [5.0]),
    ],
)
def test_metrics_by_hand(loss, outputs, labels, value):
    assert metric_of(loss).of(outputs, labels).tolist() == value


def test_a_regression_needs_as_many_outputs_as_values():
    with pytest.raises(OptionError, match="as many outputs"):
        loss_named("mse")(torch.zeros(4, 2), torch.zeros(4))


def test_numbers_beat_nan_and_nothing_else_does():
    accuracy, error = metric_of("cross_entropy"), metric_of("mse")
    nan = float("nan")
    assert accuracy.better(0.6, 0.5)
    assert error.better(0.5, 0.6)
    assert accuracy.better(0.0, nan)
    assert not any((accuracy.better(nan, nan), accuracy.better(nan, 0.1), error.better(0.5, 0.5)))


def test_judging_sees_every_sample_once_in_evaluation_mode():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 4)).astype(np.float32)
    labels = rng.integers(3, size=300)
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))
    loss, value = judge(network, Samples("x", "", labels, inputs.__getitem__), loss="cross_entropy")
    outputs = network[1](torch.from_numpy(inputs)).detach()
    assert value == pytest.approx(float((outputs.argmax(1) == torch.from_numpy(labels)).double().mean()))
    assert loss == pytest.approx(float(F.cross_entropy(outputs, torch.from_numpy(labels))), rel=1e-5)
    assert network.training


@given(share=st.floats(0.1, 0.6), seed=st.integers(0, 9))
def test_cutout_blanks_one_rectangle_no_larger_than_asked(share, seed):
    images = torch.ones(6, 2, 10, 12)
    changed = cutout(images, np.random.default_rng(seed), share=share)
    blank = changed[:, 0] == 0
    assert torch.equal(blank, changed[:, 1] == 0)
    for one in blank:
        rows, columns = one.any(1).nonzero().flatten(), one.any(0).nonzero().flatten()
        assert one.sum() == len(rows) * len(columns) > 0
        assert len(rows) <= round(share * 10)
        assert len(columns) <= round(share * 12)
        assert rows.max() - rows.min() + 1 == len(rows)


def test_mixup_is_a_convex_mixture_and_share_follows_beta():
    inputs = torch.arange(8.0)[:, None]
    mixed, partners, share = mixup(inputs, np.random.default_rng(3), alpha=0.4)
    assert sorted(partners.tolist()) == list(range(8))
    assert torch.allclose(mixed, share * inputs + (1 - share) * inputs[partners])
    shares = [mixup(inputs, np.random.default_rng(seed), alpha=0.4)[2] for seed in range(400)]
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.2)  # of Beta(a, a)


def test_what_is_written_is_not_mirrored():
    images = torch.arange(2 * 64.0).reshape(2, 1, 8, 8).repeat(20, 1, 1, 1) + 1
    changed = flip_crop(images, np.random.default_rng(0), mirror=False)[:, 0, 1:-1, 1:-1]
    assert torch.equal(changed[..., 1:] - changed[..., :-1], torch.ones_like(changed[..., 1:]))
