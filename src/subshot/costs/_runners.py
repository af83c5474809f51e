"""Ways to run a network for timing: eager torch, ``torch.compile``, ONNX Runtime; made ready once, then called."""

import importlib
import logging
import types
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from subshot._types import TaskSpec
from subshot.errors import MissingDependencyError, NetworkError, OptionError

if TYPE_CHECKING:
    from subshot.costs._latency_records import LatencyProtocol

Runner = Callable[[], object]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def check_backend(protocol: "LatencyProtocol") -> None:
    """Refuse what this machine can't run, before anything is built.

    Raises:
        OptionError: The device isn't there, or ONNX Runtime can't use it.
        MissingDependencyError: ONNX Runtime, or what exports to it, isn't installed.
    """
    try:
        device = torch.device(protocol.device)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise OptionError(
            f"Device {protocol.device!r} was given, and it can't be used: {reason}.",
            "Measure on cpu, or read a latency table that was measured on that device.",
        ) from error
    if protocol.backend == "onnxruntime":
        runtime = _onnx_runtime()
        provider, offered = _PROVIDERS.get(device.type, ""), runtime.get_available_providers()
        if provider not in offered:
            raise OptionError(
                f"ONNX Runtime can't use the device {protocol.device!r}; it offers {', '.join(offered)}.",
                "Measure with the backend eager or compile, on cpu, or read a latency table of that device.",
            )


def make_runner(network: nn.Module, task: TaskSpec, protocol: "LatencyProtocol") -> Runner:
    """A function that runs the network once over one batch and waits for the result.

    Raises:
        NetworkError: The backend can't take the network.
    """
    device = torch.device(protocol.device)
    network = network.to(device).eval()
    inputs = {name: tensor.to(device) for name, tensor in example(task, protocol.batch_size).items()}
    if protocol.backend == "onnxruntime":
        return _onnx(network, inputs, protocol)
    call = _compiled(network, inputs) if protocol.backend == "compile" else _eager(network, inputs)
    if device.type == "cuda":
        return _waiting(call, device)
    return call


def example(task: TaskSpec, batch_size: int) -> dict[str, Tensor]:
    """A random batch, always the same."""
    generator = torch.Generator().manual_seed(0)
    made = {}
    for spec in task.inputs:
        shape, dtype = (batch_size, *spec.shape), getattr(torch, spec.dtype)
        if dtype.is_floating_point:
            made[spec.name] = torch.randn(shape, generator=generator).to(dtype)
        else:
            made[spec.name] = torch.randint(spec.vocabulary or 2, shape, generator=generator).to(dtype)
    return made


def _waiting(call: Runner, device: torch.device) -> Runner:
    def run() -> None:
        call()
        torch.cuda.synchronize(device)

    return run


def _forward(network: nn.Module, inputs: Mapping[str, Tensor]) -> Runner:
    if len(inputs) == 1:
        (only,) = inputs.values()
        return lambda: network(only)
    return lambda: network(**inputs)


def _eager(network: nn.Module, inputs: Mapping[str, Tensor]) -> Runner:
    forward = _forward(network, inputs)

    def run() -> object:
        with torch.inference_mode():
            return forward()

    return run


def _compiled(network: nn.Module, inputs: Mapping[str, Tensor]) -> Runner:
    forward = _forward(network, inputs)
    # Compiled code is kept by code object, a few versions of each: every network needs a code object of its own.
    assert isinstance(forward, types.FunctionType)
    own = types.FunctionType(forward.__code__.replace(), forward.__globals__, "forward", None, forward.__closure__)
    compiled = torch.compile(own, fullgraph=True, dynamic=False)

    def run() -> object:
        with torch.no_grad():
            return compiled()

    try:
        run()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise NetworkError(f"torch.compile can't take the network: {reason}.", "Measure with eager.") from error
    return run


def _onnx(network: nn.Module, inputs: Mapping[str, Tensor], protocol: "LatencyProtocol") -> Runner:
    runtime = _onnx_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = protocol.threads, 1
    options.log_severity_level = 3
    device = torch.device(protocol.device)
    try:
        session = runtime.InferenceSession(_exported(network, inputs), options, providers=[_PROVIDERS[device.type]])
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise NetworkError(f"ONNX Runtime can't take the network: {reason}.", "Measure with eager.") from error
    names = [one.name for one in session.get_inputs()]
    feed = {name: tensor.cpu().numpy() for name, tensor in zip(names, inputs.values(), strict=True)}
    return lambda: session.run(None, feed)


def _exported(network: nn.Module, inputs: Mapping[str, Tensor]) -> bytes:
    arguments = tuple(inputs.values()) if len(inputs) == 1 else ()
    named = None if len(inputs) == 1 else dict(inputs)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the exporter tells of packages that aren't installed and of its own deprecations
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(network, arguments, kwargs=named, dynamo=True, verbose=False)
    finally:
        logging.disable(disabled)
    made: bytes = program.model_proto.SerializeToString()
    return made


def _onnx_runtime() -> Any:
    try:
        for name in ("onnx", "onnxscript"):
            importlib.import_module(name)
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(
            f"The backend onnxruntime needs {error.name or 'onnxruntime'}, which can't be imported: {error}.",
            "Install it with: pip install 'subshot[onnx]', or measure with the backend eager or compile.",
        ) from error
