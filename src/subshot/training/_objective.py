"""What training lowers and what it is judged by, by the name of the task's loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from subshot.errors import OptionError
from subshot.training._recipe import Recipe
from subshot.training._samples import Samples

Loss = Callable[[Tensor, Tensor], Tensor]

# Samples of a batch that is judged; a network in evaluation mode treats each by itself.
_JUDGED = 256


@dataclass(frozen=True)
class Metric:
    """What a network is judged by.

    Attributes:
        name: As in results.
        minimise: Whether low is good.
        of: Outputs and labels to one value for each sample, (S,).
    """

    name: str
    minimise: bool
    of: Loss

    def better(self, value: float, than: float) -> bool:
        """Whether one value beats another; NaN beats nothing, and any number beats NaN."""
        if value != value or than != than:
            return value == value and than != than
        return value < than if self.minimise else value > than


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        inputs: (S, ...).
        labels: (S, ...).
        partners: Labels that the batch was mixed with, if it was.
        share: Share of its own labels.
        taught: Outputs of a teacher, if there is one.
    """

    inputs: Tensor
    labels: Tensor
    partners: Tensor | None = None
    share: float = 1.0
    taught: Tensor | None = None


def _squared(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared differences; outputs (S, 1) belong to labels (S,)."""
    if outputs.numel() != labels.numel():
        raise OptionError(
            f"The outputs have shape {tuple(outputs.shape)} and the labels {tuple(labels.shape)}.",
            "A regression needs as many outputs as values.",
        )
    return (outputs.reshape(labels.shape) - labels) ** 2


def _mse(outputs: Tensor, labels: Tensor) -> Tensor:
    return _squared(outputs, labels).mean()


def _accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of right classes; of a dense prediction, outputs (S, K, ...) and labels (S, ...), over its places."""
    return (outputs.argmax(dim=1) == labels).float().reshape(len(labels), -1).mean(dim=1)


LOSSES: Mapping[str, Loss] = {"cross_entropy": F.cross_entropy, "mse": _mse}
METRICS: Mapping[str, Metric] = {
    "cross_entropy": Metric("accuracy", False, _accuracy),
    "mse": Metric("mse", True, lambda outputs, labels: _squared(outputs, labels).reshape(len(labels), -1).mean(dim=1)),
}


def loss_named(name: str) -> Loss:
    """The loss of a task.

    Raises:
        OptionError: There is none of that name.
    """
    if name not in LOSSES:
        raise OptionError(f"The task's loss is {name!r}.", f"Weights can be trained for {', '.join(LOSSES)}.")
    return LOSSES[name]


def metric_of(loss: str) -> Metric:
    """What a task with this loss is judged by: accuracy, or the mean squared error.

    Raises:
        OptionError: There is no such loss.
    """
    loss_named(loss)
    return METRICS[loss]


def objective(name: str, recipe: Recipe) -> Callable[[Tensor, Batch], Tensor]:
    """What a step lowers: the task's loss with what the recipe adds, a function of outputs and batch.

    Distillation is the divergence of softened outputs, times the squared temperature (Hinton et al., arXiv 1503.02531),
    and for a regression the squared distance from the teacher's.

    Raises:
        OptionError: There is no such loss, or it has no labels to smooth.
    """
    plain = loss_named(name)
    if recipe.label_smoothing:
        if name != "cross_entropy":
            raise OptionError(f"Label smoothing was asked for with the loss {name}.", "It is for classifications.")

        def smoothed(outputs: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(outputs, labels, label_smoothing=recipe.label_smoothing)

        plain = smoothed

    def lowered(outputs: Tensor, batch: Batch) -> Tensor:
        loss = plain(outputs, batch.labels)
        if batch.partners is not None:
            loss = batch.share * loss + (1 - batch.share) * plain(outputs, batch.partners)
        if batch.taught is not None:
            loss = (1 - recipe.distillation) * loss + recipe.distillation * agreement(outputs, batch.taught)
        return loss

    def agreement(outputs: Tensor, taught: Tensor) -> Tensor:
        if name != "cross_entropy":
            return _mse(outputs, taught)
        soft, target = (F.log_softmax(one.float() / recipe.temperature, dim=1) for one in (outputs, taught))
        divergence = F.kl_div(soft, target, reduction="none", log_target=True).sum(dim=1).mean()
        return divergence * recipe.temperature**2

    return lowered


def judge(network: nn.Module, samples: Samples, *, loss: str) -> tuple[float, float]:
    """Loss and metric of a network over all samples, in evaluation mode and full precision; modes are put back.

    Raises:
        OptionError: There is no such loss.
    """
    plain, metric = loss_named(loss), metric_of(loss)
    device = next(network.parameters()).device
    modes = [(module, module.training) for module in network.modules()]
    lost = judged = torch.zeros((), dtype=torch.float64)
    try:
        network.eval()
        with torch.no_grad():
            for indices in samples.in_order(_JUDGED):
                inputs, labels = (one.to(device) for one in samples.take(indices))
                outputs = network(laid_out(inputs))
                lost = lost + plain(outputs, labels).double().cpu() * len(labels)
                judged = judged + metric.of(outputs, labels).double().sum().cpu()
    finally:
        for module, training in modes:
            module.training = training
    return float(lost) / len(samples), float(judged) / len(samples)


def laid_out(inputs: Tensor) -> Tensor:
    """Images in channels-last memory, which halves the time of convolutions on one CPU thread."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs
