"""Every way to call an activation is seen once, with the values it had at that moment."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot.proxies._capture import ActivationMode


def seen(function: Callable[[], object]) -> list[Tensor]:
    taken: list[Tensor] = []
    with torch.no_grad(), ActivationMode(lambda activation: taken.append(activation.clone())):
        function()
    return taken


def test_each_form_is_seen_once(form: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-3, 3, 12).reshape(3, 4)
    expected = form(x.clone()).detach()
    taken = seen(lambda: form(x.clone()))
    assert len(taken) == 1
    assert torch.equal(taken[0], expected)


def test_what_is_recorded_is_the_value_at_that_moment() -> None:
    x = torch.tensor([[-1.0, 2.0]])

    def later_changed() -> None:
        y = F.relu(x)
        y.sub_(10)

    assert seen(later_changed)[0].tolist() == [[0.0, 2.0]]


def test_a_module_used_twice_is_seen_twice() -> None:
    relu = nn.ReLU()
    assert len(seen(lambda: relu(relu(torch.randn(2, 3)) - 1))) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.clamp(-1, 1),
        lambda x: x.clamp(max=0),
        lambda x: x.clamp(None, 0),
        lambda x: torch.clamp(x, min=torch.tensor(0.5)),
        lambda x: torch.sigmoid(x),
        lambda x: F.softmax(x, dim=1),
        lambda x: F.softplus(x),
        lambda x: x.long().clamp(min=0),
        lambda x: x * 2 + 1,
    ],
)
def test_other_functions_are_not_activations(call: Callable[[Tensor], object]) -> None:
    assert seen(lambda: call(torch.randn(2, 3))) == []


def test_attention_and_encoder_layers_show_their_feed_forward_activation_only() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 6, 0.0, "gelu", batch_first=True)
    (hidden,) = seen(lambda: layer(torch.randn(2, 3, 4)))
    assert hidden.shape == (2, 3, 6)


def test_nothing_is_left_behind() -> None:
    taken: list[Tensor] = []
    with pytest.raises(ZeroDivisionError), ActivationMode(taken.append):
        1 / 0  # noqa: B018
    F.relu(torch.ones(1))
    assert taken == []
