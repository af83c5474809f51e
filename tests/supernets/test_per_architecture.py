import copy
import math

import pytest
import torch
import torch.nn.functional as F

from subshot.errors import OptionError
from subshot.supernets.per_architecture import per_architecture_warm_up
from subshot.training._samples import Order


@pytest.fixture
def network(cells, rng):
    return cells.extract(
        cells.space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|")
    )


@pytest.mark.parametrize(("images", "steps"), [(6000, 470), (12000, 940), (24000, 1880)])
def test_the_published_levels_have_the_published_steps(images, steps):
    assert 10 * Order(35_000, batch_size=128, seed=0, images=images, keep_last=True).steps_per_epoch == steps


def test_it_is_plain_gradient_descent(network, cells, data):
    twin = copy.deepcopy(network)
    [moment] = per_architecture_warm_up(
        network, data, task=cells.task, look=lambda moment: moment, images=40, epochs=2, lr=0.3, batch_size=16
    )
    order = Order(96, batch_size=16, seed=0, images=40, keep_last=True)
    losses = []
    for step in range(6):
        chosen = torch.from_numpy(order.at(step))
        loss = F.cross_entropy(twin(data[0][chosen]), data[1][chosen])
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, list(twin.parameters()), allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(twin.parameters(), gradients, strict=True):
                if gradient is not None:
                    parameter -= 0.3 * gradient
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert moment.losses == pytest.approx(losses, rel=1e-4)
    assert (moment.step, moment.samples, moment.share) == (6, 80, 1.0)
    assert sorted(moment.images) == sorted({int(i) for step in range(3) for i in order.at(step)})
    assert (
        moment.macs
        == 80
        * cells.space.measure(
            cells.space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"),
            cells.task,
        ).macs
    )


def test_one_run_is_looked_at_on_the_way_and_not_disturbed(network, cells, data):
    first = copy.deepcopy(network)

    def look(moment):
        torch.rand(3)  # whatever a look draws
        return moment.share, moment.step, len(moment.losses), copy.deepcopy(network.state_dict())

    settings = {"task": cells.task, "images": 32, "epochs": 5, "batch_size": 16, "lr": 0.1}
    seen = per_architecture_warm_up(network, data, look=look, shares=(0, 0.1, 0.2, 0.4, 1), **settings)
    assert [row[:3] for row in seen] == [(0, 0, 0), (0.1, 1, 1), (0.2, 2, 2), (0.4, 4, 4), (1, 10, 10)]
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in seen[0][3].items())
    per_architecture_warm_up(first, data, look=lambda moment: None, **settings)
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_diverging_run_is_told_as_it_is(network, cells, data):
    huge = (data[0] * 1e30, data[1])
    [losses] = per_architecture_warm_up(
        network, huge, task=cells.task, look=lambda moment: moment.losses, images=32, epochs=4, batch_size=16, lr=1e38
    )
    assert len(losses) == 8
    assert not math.isfinite(losses[-1])


@pytest.mark.parametrize("shares", [(), (0.5, 0.2), (0.1, 0.1), (-0.1,), (0.5, 1.5)])
def test_shares_ascend(network, cells, data, shares):
    with pytest.raises(OptionError, match="ascending numbers from 0 to 1"):
        per_architecture_warm_up(network, data, task=cells.task, look=print, images=32, shares=shares)


def test_fewer_images_than_a_batch(network, cells, data):
    with pytest.raises(OptionError, match="out of 20 samples; there are 96"):
        per_architecture_warm_up(network, data, task=cells.task, look=print, images=20, batch_size=32)
    with pytest.raises(OptionError, match="epochs"):
        per_architecture_warm_up(network, data, task=cells.task, look=print, images=32, batch_size=32, epochs=0)
