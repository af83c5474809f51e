"""Supernets as files: weights by name in safetensors, and in its header all that is needed to use them."""

from pathlib import Path
from typing import Any

from subshot._types import InputSpec, TaskSpec
from subshot.errors import DataError, OptionError
from subshot.supernets._supernet import Supernet, describe, make_supernet
from subshot.supernets.warm_up import WarmedUp
from subshot.training._tensors import digest_tensors, read_tensors, write_tensors

_KIND = "supernet"


def save_supernet(supernet: Supernet, path: Path, *, warmed_up: WarmedUp | None = None) -> str:
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
    }
    write_tensors(path, state, header)
    return digest


def load_supernet(path: Path) -> tuple[Supernet, dict[str, Any]]:
    """Read a supernet that :func:`save_supernet` wrote; nothing in the file is run.

    Returns:
        The supernet and the file's header: ``digest``, ``version``, ``warm_up`` (``None`` or what it cost and how it
        was done) beside what the supernet is.

    Raises:
        DataError: There is no such file, or it is damaged or of another kind.
        UnknownNameError: Its space is not known here.
    """
    state, header = read_tensors(path)
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


def _task(values: dict[str, Any]) -> TaskSpec:
    inputs = tuple(InputSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in values["inputs"])
    return TaskSpec(inputs, values["outputs"], values["loss"])
