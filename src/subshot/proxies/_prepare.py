"""Set a network up for a look and put back everything as it was found."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from subshot._types import BATCH_NORM_MODES
from subshot.errors import OptionError


@contextmanager
def prepared(network: nn.Module, *, batch_norm: str, keep_parameters: bool) -> Iterator[Callable[[int], None]]:
    """Hold ``network`` in evaluation mode with batch norm as asked.

    Dropout and stochastic depth are off in every mode and no parameter is frozen, so that a score depends on weights
    and batch alone. On leaving, modes, buffers, gradients, flags of frozen parameters, batch-norm settings, hooks,
    torch's random state and, if asked, parameters are bit for bit what they were, whatever happened inside.

    Args:
        network: Any module.
        batch_norm: ``batch``: normalise by the batch's statistics without updating the running ones. ``running``: by
            the stored statistics. ``off``: pass the input through.
        keep_parameters: Save and restore what re-drawing the weights changes: parameters and the stored statistics of
            batch norm. Needed if that is done inside and the network is not ours.

    Yields:
        A function that seeds torch's random state, for networks that draw numbers while they run.

    Raises:
        OptionError: Unknown batch-norm mode.
    """
    if batch_norm not in BATCH_NORM_MODES:
        raise OptionError(f"There is no batch-norm mode {batch_norm!r}.", f"Use one of {', '.join(BATCH_NORM_MODES)}.")
    modules = list(network.modules())
    norms = [module for module in modules if isinstance(module, _BatchNorm)]
    modes = [module.training for module in modules]
    tracking = [norm.track_running_stats for norm in norms]
    # A pass can't change the statistics of batch norm in any of the modes; drawing new weights does.
    safe = set() if keep_parameters else set(norms)
    buffers = _save_buffers(module for module in modules if module not in safe)
    parameters = [(p, p.detach().clone()) for p in network.parameters()] if keep_parameters else []
    gradients = [(p, p.grad) for p in network.parameters()]
    # Matrix products take another kernel where the second factor needs no gradient.
    frozen = [p for p in network.parameters() if not (p.requires_grad or p.is_inference()) and _has_gradients(p)]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    hooks = []
    devices = _cuda_devices(network)

    def seed_all(seed: int) -> None:
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device, also those not put back
        for device in devices:
            torch.cuda.default_generators[device.index].manual_seed(seed)

    # The same attention kernel with and without a graph, so that no value depends on what else is computed; the plain
    # one is the only one that can be differentiated twice.
    with torch.random.fork_rng(devices=devices), sdpa_kernel(SDPBackend.MATH):
        try:
            # The fused attention kernels would run activations where nobody can see them.
            torch.backends.mha.set_fastpath_enabled(False)
            for parameter, gradient in gradients:
                if gradient is not None:
                    parameter.grad = None  # a backward pass inside would add to the gradient in place
            for parameter in frozen:
                parameter.requires_grad_(True)
            for module in modules:
                module.training = False  # not network.eval(): a module may answer that by merging or freezing weights
            for norm in norms:
                if batch_norm == "batch":
                    # Training mode without tracking: batch statistics are used and the running ones are not touched.
                    norm.training = True
                    norm.track_running_stats = False
                elif batch_norm == "off":
                    hooks.append(norm.register_forward_hook(_pass_through, with_kwargs=True))
            yield seed_all
        finally:
            for hook in hooks:
                hook.remove()
            torch.backends.mha.set_fastpath_enabled(fast_attention)
            for module, training in zip(modules, modes, strict=True):
                module.training = training
            for norm, tracks in zip(norms, tracking, strict=True):
                norm.track_running_stats = tracks
            with torch.no_grad():
                for owner, name, buffer, values in buffers:
                    owner._buffers[name] = buffer  # a forward pass may have put another tensor there
                    if buffer is not None and values is not None:
                        buffer.copy_(values)
                for parameter, saved in parameters:
                    parameter.copy_(saved)
            for parameter, gradient in gradients:
                parameter.grad = gradient
            for parameter in frozen:
                parameter.requires_grad_(False)


_SavedBuffer = tuple[nn.Module, str, Tensor | None, Tensor | None]


def _save_buffers(modules: Iterable[nn.Module]) -> list[_SavedBuffer]:
    """Owner, name, tensor and a copy of its values, for each buffer."""
    return [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in modules
        for name, buffer in module._buffers.items()
    ]


def _has_gradients(parameter: Tensor) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()


def _pass_through(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
    return args[0] if args else kwargs["input"]


def _cuda_devices(network: nn.Module) -> list[torch.device]:
    return list({p.device for p in network.parameters() if p.device.type == "cuda"})
