"""A trained network as a file: weights by name in safetensors, and in its header all that is needed to build it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subshot._types import InputSpec, TaskSpec
from subshot.errors import DataError, OptionError, SubshotError
from subshot.spaces._space import get_space
from subshot.training._tensors import digest_tensors, read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import nn

_KIND = "trained"


def save_trained(network: "nn.Module", path: Path, *, task: TaskSpec, built: Mapping[str, str], told: Any) -> str:
    """Write a network's weights; the file is there when it is complete.

    Args:
        network: What to write.
        path: Where; a file there is replaced.
        task: What it was built for.
        built: ``space``, ``arch`` and ``variant``, as texts; empty for a network that no space builds.
        told: What else a reader should know, JSON values.

    Returns:
        The digest of the weights.
    """
    from subshot import __version__

    state = network.state_dict()
    digest = digest_tensors(state)
    header = {"kind": _KIND, "task": dataclasses.asdict(task), "digest": digest, "version": __version__}
    write_tensors(path, state, {**header, "built": dict(built), "told": told})
    return digest


def load_trained(path: Path) -> "tuple[nn.Module, TaskSpec, dict[str, Any]]":
    """Build the network of a file of :func:`save_trained`, with its weights.

    Returns:
        The network in evaluation mode, its task, and what else the file tells.

    Raises:
        DataError: There is no such file, it is damaged or of another kind, or its network can't be built.
    """
    state, header = read_tensors(path)
    if header.get("kind") != _KIND:
        raise DataError(f"{path} holds no trained network but {header.get('kind')!r}.", "Give one of subshot train.")
    built = header.get("built", {})
    if not built:
        raise DataError(f"{path} holds weights of a network that no space builds.", "Load them into that network.")
    try:
        task = _task(header["task"])
        space = get_space(built["space"])
        network = space.build(space.parse(built["arch"]), task, variant=built["variant"])
        network.load_state_dict(state)
        whole = header["digest"] == digest_tensors(state)
    except OptionError as error:
        raise DataError(f"{path} holds a network that can't be built: {error.message}", error.hint) from error
    except (SubshotError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} holds a network that can't be built: {error}.", "It may be damaged.") from error
    if not whole:
        raise DataError(f"The weights in {path} are not those it was written with.", "It may be damaged.")
    return network.eval(), task, {**built, **header["told"]}


def _task(values: dict[str, Any]) -> TaskSpec:
    inputs = tuple(InputSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in values["inputs"])
    return TaskSpec(inputs, values["outputs"], values["loss"])
