"""Weights that were learnt before architectures are compared: who lends them, and how a run gets them."""

import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subshot._choice import Choice
from subshot._types import Arch, TaskSpec
from subshot.errors import OptionError
from subshot.spaces._space import Space, space_settings

if TYPE_CHECKING:
    from torch import nn

    from subshot.data import DataLike
    from subshot.supernets._supernet import Supernet
    from subshot.supernets.warm_up import WarmUp
    from subshot.training._fit import FitState

# Files of a warm-up in a run folder: what it continues from, and what it ends with.
CHECKPOINT, SUPERNET = "warm_up.safetensors", "supernet.safetensors"


@dataclass(frozen=True)
class Lender:
    """A supernet's file, from which worker processes take the weights of each architecture.

    Attributes:
        path: The file.
        digest: Of its weights.
    """

    path: str
    digest: str

    def network(self, arch: Arch) -> "nn.Module":
        """The stand-alone network of an architecture with the supernet's weights."""
        return _read(self.path, self.digest).extract(arch)

    @property
    def weights(self) -> str:
        """What a protocol says of them."""
        return f"warm:{self.digest}"


def plan_of(warm_up: "float | WarmUp | None", *, seed: int) -> "WarmUp | None":
    """A share of the data as a plan with the study's seed."""
    if warm_up is None:
        return None
    from subshot.supernets.warm_up import WarmUp

    return warm_up if isinstance(warm_up, WarmUp) else WarmUp(share=warm_up, seed=seed)


def refuse_redraws(*, init: str, repeats: int, both: bool) -> None:
    """Refuse what has no meaning with learnt weights.

    Raises:
        OptionError: An initialisation, repeats of it, or two sources of weights.
    """
    if both:
        raise OptionError("A warm-up and weights were both given.", "Give one of the two.")
    if init != "default" or repeats != 1:
        raise OptionError(
            f"Initialisation {init} x {repeats} was given for weights that were learnt.",
            "They are taken as they are: leave --init and --repeats out.",
        )


@functools.lru_cache(maxsize=1)
def _read(path: str, digest: str) -> "Supernet":
    """The supernet, read once in each process."""
    from subshot.supernets.files import load_supernet

    supernet, header = load_supernet(Path(path))
    if header["digest"] != digest:
        raise OptionError(f"{path} has changed since the run began.", "Keep the file as long as a run uses it.")
    return supernet


def lender_of(path: Path, space: Space, task: TaskSpec, variant: str) -> tuple[Lender, dict[str, Any]]:
    """A supernet's file, for the architectures of ``space``; and how it got its weights.

    Raises:
        OptionError: The supernet is of another space, network or task.
        DataError: The file can't be read.
    """
    from subshot.supernets.files import load_supernet

    supernet, header = load_supernet(path)
    for what, theirs, ours in (
        ("space", header["space"], str(Choice(space.name, space_settings(space)))),
        ("variant", supernet.variant, variant),
        ("inputs", [spec.shape for spec in supernet.task.inputs], [spec.shape for spec in task.inputs]),
        ("outputs", supernet.task.outputs, task.outputs),
    ):
        if theirs != ours:
            raise OptionError(
                f"The supernet in {path} has {what} {theirs}, and {ours} is to be scored.",
                f"Ask for the same {what}, or warm up another supernet.",
            )
    return Lender(str(path.resolve()), header["digest"]), header["warm_up"] or {}


def refuse_another(
    path: Path,
    history: "Mapping[str, Any] | None",
    plan: "WarmUp",
    *,
    space: str,
    variant: str,
    data: str,
    task: TaskSpec,
) -> None:
    """Refuse a supernet that was warmed up in another way than is asked for.

    Raises:
        OptionError: It was, or it wasn't warmed up at all.
    """
    had = (history or {}).get("settings", {})
    steps = plan.steps(had.get("data samples", 0)) if had else 0
    wanted = {
        "space": space,
        "variant": variant,
        "task": asdict(task),
        "data": data,
        "sampler": str(Choice.parse(plan.sampler)),
        "images": plan.images,
        "recipe": asdict(plan.recipe),
        "seed": plan.seed,
    }
    different = [name for name, value in json.loads(json.dumps(wanted)).items() if had.get(name) != value]
    if (history or {}).get("steps") != steps:
        different.append("steps")
    if different:
        raise OptionError(
            f"{path} is a supernet of another warm-up; they differ in {', '.join(different)}.",
            "Choose another file, or delete this one (--fresh moves that of a run aside).",
        )


def warmed(
    plan: "WarmUp",
    data: "DataLike",
    space: Space,
    task: TaskSpec,
    variant: str,
    *,
    run: Path | None,
    on_step: "Callable[[FitState], None] | None",
) -> tuple[Lender, dict[str, Any]]:
    """Warm a supernet up, or take the one that an earlier part of the run ended with.

    Args:
        plan: How.
        data: What to train on.
        space: The space.
        task: What the networks are built for.
        variant: Which networks.
        run: Run folder; without one the file goes to the system's temporary folder.
        on_step: Called after each step.
    """
    from subshot.supernets._supernet import make_supernet
    from subshot.supernets.files import save_supernet
    from subshot.supernets.warm_up import warm_up

    folder = run or Path(tempfile.mkdtemp(prefix="subshot-"))
    path = folder / SUPERNET
    if not path.exists():
        supernet = make_supernet(space, task, variant=variant, seed=plan.seed)
        done = warm_up(supernet, data, plan=plan, checkpoint=folder / CHECKPOINT, on_step=on_step)
        save_supernet(supernet, path, warmed_up=done)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    lender, history = lender_of(path, space, task, variant)
    said = str(Choice(space.name, space_settings(space)))
    name = history.get("settings", {}).get("data", "")  # the study's own settings hold the data's digest
    refuse_another(path, history, plan, space=said, variant=variant, data=name, task=task)
    return lender, history
