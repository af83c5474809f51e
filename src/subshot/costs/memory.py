"""Peak activation memory of a forward pass, in bytes.

Counted are the input, which its caller holds, and the output of every operator from when it is made until the network's
code drops it, in the order in which eager torch runs; in-place operations and views add nothing. Not counted are
parameters, buffers and the scratch space of kernels. Attention is counted as its plain formula, which keeps the matrix
of weights; a fused kernel needs less. Training keeps all activations and needs far more.
"""

from pathlib import Path

import torch
from torch import nn

from subshot._types import TaskSpec
from subshot.costs._trace import trace


def peak_bytes(network: nn.Module, task: TaskSpec, *, batch_size: int = 1) -> int:
    """Most bytes of activations that are alive at once when the network runs in evaluation mode.

    Args:
        network: The network, which may be on the meta device.
        task: Its inputs.
        batch_size: Samples at a time.
    """
    return trace(network, task, batch_size=batch_size).peak_bytes


def available_bytes(device: str) -> float:
    """Memory that is free: of the GPU, or of this machine and the container around it; infinite if unknown."""
    if torch.device(device).type == "cuda":
        return float(torch.cuda.mem_get_info(torch.device(device))[0])
    return min(_free_of_machine(), _free_of_container())


def _free_of_machine() -> float:
    lines = _read("/proc/meminfo").splitlines()
    kilobytes = [float(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * kilobytes[0] if kilobytes else float("inf")


def _free_of_container() -> float:
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if not (limit.isdigit() and used.isdigit()):
        return float("inf")
    cached = [line.split()[1] for line in _read("/sys/fs/cgroup/memory.stat").splitlines() if "inactive_file" in line]
    return float(limit) - float(used) + sum(map(float, cached))  # what files were read is given up first


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
