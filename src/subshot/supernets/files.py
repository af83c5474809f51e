"""Supernets as files: weights by name in safetensors, and in its header all that is needed to use them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from subshot._types import InputSpec, TaskSpec
from subshot.errors import DataError, OptionError
from subshot.supernets._supernet import Supernet, describe, make_supernet
from subshot.supernets.warm_up import WarmedUp
from subshot.training._tensors import digest_tensors, read_tensors, write_tensors

_KIND = "supernet"

# Points of the loss curve in the header; more show no more.
_POINTS = 500


def save_supernet(supernet: Supernet, path: str | os.PathLike[str], *, warmed_up: WarmedUp | None = None) -> str:
    """Write a supernet to a ``.safetensors`` file; the file is there when it is complete.

    Args:
        supernet: What to write.
        path: Where; a file there is replaced.
        warmed_up: How it got its weights.

    Returns:
        The digest of the weights.
    """
    from subshot import __version__

    state = supernet.network.state_dict()
    digest = digest_tensors(state)
    header = {
        "kind": _KIND,
        **describe(supernet),
        "digest": digest,
        "version": __version__,
        "warm_up": None if warmed_up is None else {**warmed_up.to_dict(), "losses": None},
        "curve": None if warmed_up is None else _curve(warmed_up.losses),
    }
    write_tensors(Path(path), state, header)
    return digest


def load_supernet(path: str | os.PathLike[str]) -> tuple[Supernet, dict[str, Any]]:
    """Read a supernet that :func:`save_supernet` wrote; nothing in the file is run.

    Returns:
        The supernet and the file's header: ``digest``, ``version``, ``warm_up`` (``None`` or what it cost and how it
        was done) and ``curve`` (its losses) beside what the supernet is.

    Raises:
        DataError: There is no such file, or it is damaged or of another kind.
        UnknownNameError: Its space is not known here.
    """
    state, header = read_tensors(Path(path))
    if header.get("kind") != _KIND:
        raise DataError(f"{path} holds no supernet but {header.get('kind')!r}.", "Give a file of save_supernet.")
    try:
        supernet = make_supernet(header["space"], _task(header["task"]), variant=header["variant"])
        supernet.network.load_state_dict(state)
        supernet.frozen = {str(name): int(number) for name, number in header["frozen"].items()}
        whole = header["digest"] == digest_tensors(state)
    except (OptionError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path} holds a supernet that can't be built: {error}.", "It may be damaged.") from error
    if not whole:
        raise DataError(f"The weights in {path} are not those it was written with.", "It may be damaged.")
    return supernet, header


def _curve(losses: Sequence[float]) -> dict[str, list[float]]:
    """Losses by step; of many steps means over equal stretches, whose last step is named.

    A single loss says more about its path than about how far the warm-up is.
    """
    count = min(len(losses), _POINTS)
    ends = [len(losses) * (place + 1) // count for place in range(count)]
    stretches = [losses[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return {
        "step": [float(end) for end in ends],
        "loss": [float(f"{sum(stretch) / len(stretch):.6g}") for stretch in stretches],
    }


def _task(values: dict[str, Any]) -> TaskSpec:
    inputs = tuple(InputSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in values["inputs"])
    return TaskSpec(inputs, values["outputs"], values["loss"])
