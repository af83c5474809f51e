"""The published procedures, restated plainly: what a proxy costs when it is computed by itself.

Every function takes a network, a batch of images and its labels, and works as the released code does: on a deep copy of
its own, with its own passes and hooks, sample by sample where the authors go sample by sample. Where released versions
differ, the cheaper one stands here. ``train()`` gives batch statistics, as everywhere in that code.
"""

import copy
import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

Reference = Callable[[nn.Module, Tensor, Tensor], float]

# What the released code hooks as an activation.
_ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU)


def fresh(network: nn.Module) -> nn.Module:
    """The copy that every procedure makes."""
    copied = copy.deepcopy(network).train()
    copied.zero_grad(set_to_none=True)
    return copied


def weighted(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


def loss_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights and loss gradients of one forward and backward pass."""
    network.zero_grad(set_to_none=True)
    F.cross_entropy(network(images), labels).backward()
    weights = [module.weight for module in weighted(network)]
    return [(weight.detach(), weight.grad) for weight in weights if weight.grad is not None]


# Abdelfattah et al., Zero-Cost Proxies: a copy and a pass for each measure.


def grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return sum(gradient.norm().item() for _, gradient in loss_gradients(fresh(network), images, labels))


def plain(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return sum((weight * gradient).sum().item() for weight, gradient in loss_gradients(fresh(network), images, labels))


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """A mask of ones multiplies each weight, and the loss is differentiated for the mask."""
    own = fresh(network)
    names = [f"{name}.weight" for name, module in own.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    weights = {name: own.get_parameter(name).detach() for name in names}
    masks = {name: torch.ones_like(weight).requires_grad_() for name, weight in weights.items()}
    output = functional_call(own, {name: weights[name] * masks[name] for name in names}, (images,))
    F.cross_entropy(output, labels).backward()
    return sum(mask.grad.abs().sum().item() for mask in masks.values() if mask.grad is not None)


def grasp(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Gradients of a first pass, then a second pass whose gradients are differentiated in their direction."""
    own = fresh(network)
    weights = [module.weight for module in weighted(own)]
    first = torch.autograd.grad(F.cross_entropy(own(images), labels), weights, allow_unused=True)
    value = F.cross_entropy(own(images), labels)
    second = torch.autograd.grad(value, weights, create_graph=True, allow_unused=True)
    product = sum((a.detach() * b).sum() for a, b in zip(first, second, strict=True) if a is not None)
    product.backward()
    return -sum((weight.detach() * weight.grad).sum().item() for weight in weights if weight.grad is not None)


def fisher(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Each layer's output and its gradient; a channel's value is spread over the weights of the channel."""
    own = fresh(network)
    kept: list[tuple[Tensor, Tensor]] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        activation = output.detach().clone()

        def note(gradient: Tensor) -> None:
            product = (activation * gradient).flatten(2).sum(2) if gradient.dim() > 2 else activation * gradient
            channels = product.square().mean(dim=0) / 2
            weight = module.weight
            kept.append((weight, channels.reshape(-1, *[1] * (weight.dim() - 1)).expand_as(weight).clone()))

        output.register_hook(note)

    for module in weighted(own):
        module.register_forward_hook(watch)
    F.cross_entropy(own(images), labels).backward()
    return sum(spread.double().sum().item() for _, spread in kept)


def l2_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return sum(module.weight.detach().norm().item() for module in weighted(fresh(network)))


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """In double precision with absolute weights, batch norm handing its input on; the logarithm is ours."""
    own = fresh(network).double()
    with torch.no_grad():
        for tensor in own.state_dict().values():
            tensor.abs_()
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = lambda x: x  # type: ignore[method-assign]
    own(torch.ones_like(images[:1], dtype=torch.float64)).sum().backward()
    weights = [module.weight for module in weighted(own)]
    return math.log(sum((weight * weight.grad).abs().sum().item() for weight in weights if weight.grad is not None))


# Mellor et al., Neural Architecture Search without Training, in its two versions; Lopes et al., EPE-NAS.


def input_gradients(network: nn.Module, images: Tensor) -> np.ndarray:
    x = images.detach().clone().requires_grad_()
    output = fresh(network)(x)
    output.backward(torch.ones_like(output))
    return x.grad.reshape(len(x), -1).cpu().numpy()


def jacob_cov(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    eigenvalues = np.linalg.eigvals(np.corrcoef(input_gradients(network, images))).real + 1e-5
    return float(-(np.log(eigenvalues) + 1 / eigenvalues).sum())


def epe_nas(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    rows, classes = input_gradients(network, images), labels.cpu().numpy()
    found = [np.atleast_2d(np.corrcoef(rows[classes == label])) for label in np.unique(classes)]
    return float(sum(abs(np.log(np.abs(one) + 1e-5).sum()) for one in found))


def nwot(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The kernel of every ReLU goes to the host and is summed there; NASLib's version, with one pass."""
    own = fresh(network)
    kernel = np.zeros((len(images), len(images)))

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        code = (inputs[0].reshape(len(images), -1) > 0).float()
        kernel.__iadd__((code @ code.T).cpu().numpy() + ((1 - code) @ (1 - code).T).cpu().numpy())

    for module in own.modules():
        if isinstance(module, _ACTIVATIONS):
            module.register_forward_hook(add)
    with torch.no_grad():
        own(images)
    return float(np.linalg.slogdet(kernel)[1])


# Lin et al., Zen-NAS.


def zen(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    own = fresh(network)
    for module in own.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    features: list[Tensor] = []

    def watch(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-1] > 1:
            features[:] = [output]  # the last map is what global pooling gets

    for module in own.modules():
        module.register_forward_hook(watch)
    with torch.no_grad():
        noise = torch.randn_like(images)
        own(noise)
        (first,) = features
        own(noise + 0.01 * torch.randn_like(images))
        (second,) = features
        difference = (first - second).abs().sum(dim=(1, 2, 3)).mean()
        norms = [module for module in own.modules() if isinstance(module, nn.BatchNorm2d)]
        return math.log(difference.item()) + sum(0.5 * math.log(norm.running_var.mean().item()) for norm in norms)


# Baselines.


def parameters(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float(sum(parameter.numel() for parameter in network.parameters()))


def macs(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Hooks on a copy and a pass of a single sample, as counters of FLOPs do."""
    own = fresh(network).eval()
    total = 0

    def add(module: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    for module in weighted(own):
        module.register_forward_hook(add)
    with torch.no_grad():
        own(images[:1])
    return float(total)


# Patterns: Peng et al., SWAP-NAS; Chen et al., TE-NAS; Casarin et al., L-SWAG.


def activations(network: nn.Module, images: Tensor) -> Tensor:
    """Outputs of all activation modules, (S, V)."""
    own = fresh(network)
    kept: list[Tensor] = []
    for module in own.modules():
        if isinstance(module, _ACTIVATIONS):
            module.register_forward_hook(lambda module, inputs, output: kept.append(output.detach()))
    with torch.no_grad():
        own(images)
    return torch.cat([output.reshape(len(images), -1) for output in kept], dim=1)


def swap(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return float(len(torch.unique(torch.sign(activations(network, images)).T.contiguous(), dim=0)))


def swap_regularized(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    size = parameters(network, images, labels)
    return swap(network, images, labels) * math.exp(-((size / 1e6 - 1) ** 2))


def linear_regions(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Two samples are alike if no unit is on for one and off for the other."""
    on = torch.sign(activations(network, images))
    differ = on @ (1 - on).T
    differ = differ + differ.T
    return float((1 / (differ == 0).float().sum(dim=1)).sum())


def l_swag(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """No code was released: gradients of four parts, and SWAP's procedure."""
    total = 0.0
    for gradients in part_gradients(network, images, labels, parts=4):
        spread = np.abs(gradients).std(axis=0)
        total += math.log((1 / spread[spread > 0]).sum()) if (spread > 0).any() else 0.0
    return total * swap(network, images, labels)


# Neural tangent kernel: Chen et al., TE-NAS and TEG-NAS; Zhu et al., Eigen-NAS.


def tangent_kernel(network: nn.Module, images: Tensor) -> Tensor:
    """One backward pass for each sample; the gradients of all weights, norms included, are kept."""
    own = fresh(network)
    output = own(images)
    rows = []
    for index in range(len(images)):
        own.zero_grad(set_to_none=True)
        output[index : index + 1].backward(torch.ones_like(output[index : index + 1]), retain_graph=True)
        named = [(name, parameter.grad) for name, parameter in own.named_parameters() if "weight" in name]
        rows.append(torch.cat([gradient.flatten() for _, gradient in named if gradient is not None]))
    gradients = torch.stack(rows)
    return torch.einsum("nc,mc->nm", gradients, gradients)


def ntk_condition(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    eigenvalues = torch.linalg.eigvalsh(tangent_kernel(network, images))
    return -(eigenvalues[-1] / eigenvalues[0]).item()


def eigen_nas(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return torch.linalg.eigvalsh(tangent_kernel(network, images).double())[0].item()


def ntk_mse(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    kernel = tangent_kernel(network, images)
    half = len(images) // 2
    targets = F.one_hot(labels).to(kernel)
    targets = targets - targets.mean(dim=1, keepdim=True)
    ridge = 1e-3 * kernel.diagonal().mean() * torch.eye(half).to(kernel)
    fitted = kernel[half:, :half] @ torch.linalg.solve(kernel[:half, :half] + ridge, targets[:half])
    return -(fitted - targets[half:]).square().mean().item()


# Gradients of parts and of samples: Li et al., ZiCo; Zheng et al., SiGeo; Zhang & Jia, GradSign.


def part_gradients(network: nn.Module, images: Tensor, labels: Tensor, *, parts: int) -> Iterator[np.ndarray]:
    """Every gradient of every part goes to the host, (parts, numbers) for each layer."""
    own = fresh(network)
    found: dict[nn.Module, list[np.ndarray]] = {}
    for some_images, some_labels in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        own.zero_grad(set_to_none=True)
        F.cross_entropy(own(some_images), some_labels).backward()
        for module in weighted(own):
            if module.weight.grad is not None:
                found.setdefault(module, []).append(module.weight.grad.flatten().cpu().numpy().copy())
    return (np.stack(several) for several in found.values())


def zico(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """As many parts as ours takes; the authors take two batches of full size."""
    total = 0.0
    for gradients in part_gradients(network, images, labels, parts=4):
        spread, size = gradients.std(axis=0), np.abs(gradients).mean(axis=0)
        if (spread > 0).any():
            total += math.log((size[spread > 0] / spread[spread > 0]).sum())
    return total


def sigeo(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Without the steps between the parts that the authors take."""
    weights = [module.weight.detach().flatten().cpu().numpy() for module in weighted(network)]
    total, product = 0.0, 0.0
    for weight, gradients in zip(weights, part_gradients(network, images, labels, parts=4), strict=False):
        spread, size = gradients.std(axis=0), np.abs(gradients).mean(axis=0)
        total += math.log((size[spread > 0] / spread[spread > 0]).sum()) if (spread > 0).any() else 0.0
        product += float((weight * gradients.sum(axis=0)).sum()) if weight.shape == gradients[0].shape else 0.0
    return total + 2 * math.log(abs(product) + 1e-5)


def grad_sign(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """A forward and a backward pass for each sample alone."""
    own = fresh(network)
    modules = weighted(own)
    signs = [torch.zeros_like(module.weight) for module in modules]
    for index in range(len(images)):
        own.zero_grad(set_to_none=True)
        F.cross_entropy(own(images[index : index + 1]), labels[index : index + 1]).backward()
        for sign, module in zip(signs, modules, strict=True):
            if module.weight.grad is not None:
                sign += module.weight.grad.sign()
    return sum(sign.abs().sum().item() for sign in signs)


# Tybl & Neumann, VKDNW.


def vkdnw(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Jacobians of the logits sample by sample (vectorised), in evaluation mode, for one number of each parameter."""
    own = fresh(network).eval()
    whole = {name: parameter.detach() for name, parameter in own.named_parameters()}
    first = {name: whole[name].flatten()[0] for name in list(whole)[:128]}
    rest = {name: torch.ones_like(tensor) for name, tensor in whole.items() if name in first}
    for mask in rest.values():
        mask.view(-1)[0] = 0

    def logits(numbers: dict[str, Tensor], image: Tensor) -> Tensor:
        state = {name: whole[name] * rest[name] + number * (1 - rest[name]) for name, number in numbers.items()}
        return functional_call(own, {**whole, **state}, (image[None],))[0]

    jacobians = vmap(jacrev(logits), in_dims=(None, 0), chunk_size=16)(first, images)
    jacobian = torch.stack([jacobians[name] for name in first], dim=2).detach().double()
    with torch.no_grad():
        p = 0.95 * own(images).double().softmax(dim=1) + 0.05 / jacobian.shape[1]
    factor = torch.linalg.cholesky(torch.diag_embed(p + 1e-9) - p[:, :, None] * p[:, None, :])
    product = factor @ jacobian
    singular = torch.linalg.svdvals(torch.einsum("scj,sck->jk", product, product) / len(images))
    deciles = torch.quantile(singular, torch.arange(1, 10, dtype=torch.float64).to(singular) / 10)
    shares = deciles / (deciles.sum() + 1e-10)
    return -(shares * (shares + 1e-10).log()).sum().item()


# Feature maps: Jiang et al., MeCo; Husistein et al., NEAR; Lee & Ham, AZ-NAS.


def meco(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Every module of the tree, containers too, for one image; the general eigensolver."""
    own = fresh(network)
    found: list[float] = []

    def watch(module: nn.Module, inputs: object, output: Tensor) -> None:
        rows = output[0].detach().reshape(len(output[0]), -1)
        if rows.shape[1] < 2:  # a vector has no correlation and adds nothing
            return
        correlation = torch.nan_to_num(torch.corrcoef(rows).reshape(len(rows), -1), 0, 0, 0)
        found.append(torch.linalg.eigvals(correlation).real.min().item())

    for module in own.modules():
        module.register_forward_hook(watch)
    with torch.no_grad():
        own(images[:1])
    return sum(value for value in found if not math.isnan(value))


def near(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Every module with a weight and every activation: spectrum of a square block of consecutive rows."""
    own = fresh(network)
    found: list[float] = []

    def watch(module: nn.Module, inputs: object, output: Tensor) -> None:
        rows = output.transpose(1, -1).reshape(-1, output.shape[1]).detach() if output.dim() == 4 else output.detach()
        start = int(torch.randint(max(1, len(rows) - rows.shape[1] + 1), (1,)))
        values = torch.linalg.svdvals(rows[start : start + rows.shape[1]])
        shares = values / values.sum()
        found.append(torch.exp(-(shares * shares.log()).nan_to_num(0).sum()).item())

    for module in own.modules():
        if isinstance(getattr(module, "weight", None), Tensor) or isinstance(module, _ACTIVATIONS):
            module.register_forward_hook(watch)
    with torch.no_grad():
        own(images)
    return sum(found)


def az_nas(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """Expressivity, progressivity and trainability, all from one pass over noise."""
    entropies, trainability = _az(network, images, backward=True)
    return sum(entropies), min(b - a for a, b in pairwise(entropies)), trainability


def az_expressivity(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return sum(_az(network, images, backward=False)[0])


def az_progressivity(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    entropies, _ = _az(network, images, backward=False)
    return min(b - a for a, b in pairwise(entropies))


def az_trainability(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    return _az(network, images, backward=True, forward=False)[1]


def _az(network: nn.Module, images: Tensor, *, backward: bool, forward: bool = True) -> tuple[list[float], float]:
    own = fresh(network)
    for module in weighted(own):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    maps: list[Tensor] = []
    for module in blocks(own):
        module.register_forward_hook(lambda module, inputs, output: maps.append(output))
    with torch.set_grad_enabled(backward):
        own(torch.randn_like(images))
    entropies = [_entropy(one.detach()) for one in maps] if forward else []
    terms = []
    for below, above in reversed(list(pairwise(maps))) if backward else ():
        direction = torch.randint(2, above.shape).to(above) * 2 - 1
        (passed,) = torch.autograd.grad(above, below, direction, retain_graph=True)
        stride = below.shape[2] // above.shape[2]
        grid = F.pixel_unshuffle(passed, stride) if stride > 1 else passed
        if grid.shape == direction.shape and bool((grid == direction).all()):
            terms.append(-math.inf)
            continue
        columns = [one.permute(0, 2, 3, 1).flatten(0, 2) for one in (grid, direction)]
        largest = torch.linalg.svdvals(columns[0].T @ columns[1] / len(columns[0]))[0].item()
        terms.append(2 - largest - 1 / (largest + 1e-6))
    return entropies, sum(terms) / max(1, len(terms))


def blocks(network: nn.Module) -> list[nn.Module]:
    """The stem and the cells of the networks that are measured."""
    cells = [module for module in network.modules() if type(module).__name__ in ("Cell", "Reduction", "DartsCell")]
    stem = getattr(network, "stem", None)
    return [*([stem] if stem is not None else []), *cells]


def _entropy(features: Tensor) -> float:
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)
    rows = rows - rows.mean(dim=0)
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).clamp(min=0)
    shares = values / values.sum()
    return -(shares * (shares + 1e-8).log()).sum().item()


REFERENCES: dict[str, Reference] = {
    one.__name__: one
    for one in (
        grad_norm, plain, snip, grasp, fisher, l2_norm, synflow, jacob_cov, epe_nas, nwot, zen, parameters, macs, swap,
        swap_regularized, linear_regions, l_swag, ntk_condition, eigen_nas, ntk_mse, zico, sigeo, grad_sign, vkdnw,
        meco, near, az_expressivity, az_progressivity, az_trainability,
    )
}  # fmt: skip

# Procedures that give several proxies at once in the authors' code; together they count once.
TOGETHER: dict[str, tuple[str, ...]] = {"az_nas": ("az_expressivity", "az_progressivity", "az_trainability")}
