"""Open up a model of your own: its widths, depths, kernels, heads and activation become choices.

>>> space = subshot.Space.around(model)
>>> space.format(space.start)
'unchanged'

The text of an architecture names what differs from the model: ``layer1.depth=3 conv1.width=48``. The unchanged
architecture is the model itself, weights included; any other is built from its modules, with fresh weights.

What must have the same width is found by running the model once (``_around_trace.py``); every choice is then tried, and
what doesn't run stays as it is. :attr:`AroundSpace.closed` says why.
"""

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from subshot._choice import Value
from subshot._types import Arch, InputSpec, TaskSpec
from subshot.errors import NetworkError, OptionError
from subshot.spaces._choices import ChoiceSet
from subshot.spaces._chosen_space import ChosenSpace
from subshot.spaces._space import Size, resolve_variant

if TYPE_CHECKING:
    from torch import Tensor, nn

    from subshot.spaces._around_plan import Opening

_WIDTHS = (0.5, 0.75, 1.0, 1.25, 1.5)
_KERNELS = (3, 5, 7)
_ACTIVATIONS = ("relu", "gelu", "silu", "hardswish")


def around(
    model: "nn.Module",
    example: "Tensor | None" = None,
    *,
    widths: Sequence[float] = _WIDTHS,
    kernels: Sequence[int] = _KERNELS,
    activations: Sequence[str] = _ACTIVATIONS,
    name: str = "around",
) -> "AroundSpace":
    """The space of networks around a model.

    - ``LAYER.width``: channels of a convolution or linear layer, and of all that are coupled with it (by residual
      additions, gates, embeddings); named after the first.
    - ``SEQUENCE.depth``: number of identical residual blocks in a row: blocks are left out from the back, or the last
      is repeated.
    - ``LAYER.kernel``: size of a square convolution whose padding keeps the size of the map.
    - ``LAYER.heads``: heads of ``nn.MultiheadAttention`` or of attention as in timm (``qkv``, ``proj``).
    - ``act``: the type of all activation modules; functions called in ``forward`` stay.

    Number of outputs and of input channels follow the task that a network is built for.

    Args:
        model: Any network that maps one tensor to one; it is copied.
        example: A batch that it accepts; if not given, images of 224 or else other usual sizes are tried.
        widths: Multiples of each width to choose from.
        kernels: Kernel sizes to choose from, odd.
        activations: Activations to choose from.
        name: What the space is called.

    Raises:
        OptionError: A setting outside its range, no model, or no example where none of the usual images fits.
        NetworkError: The model fails on the example, or nothing in it can be chosen.
    """
    from torch import Tensor, nn
    from torch.nn.parameter import is_lazy

    from subshot.spaces._around_network import usual_images

    wrong = example is not None and (not isinstance(example, Tensor) or example.dim() < 2)
    if not isinstance(model, nn.Module) or wrong:
        given = f"{type(model).__name__} and {type(example).__name__}"
        raise OptionError(f"A space around {given} was asked for.", "Give a torch.nn.Module and a batch for it.")
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise NetworkError("The model has lazy parameters, which have no shape yet.", "Run it on a batch once before.")
    _check_settings(widths, kernels, activations)
    chosen = example if example is not None else usual_images(model)
    return AroundSpace(model, chosen, widths=widths, kernels=kernels, activations=activations, name=name)


@final
class AroundSpace(ChosenSpace):
    """Networks around a model; made by :func:`around`.

    Args:
        model: The model.
        example: A batch that it accepts.
        widths: Multiples of each width to choose from.
        kernels: Kernel sizes to choose from.
        activations: Activations to choose from.
        name: What the space is called.
    """

    def __init__(
        self,
        model: "nn.Module",
        example: "Tensor",
        *,
        widths: Sequence[float] = _WIDTHS,
        kernels: Sequence[int] = _KERNELS,
        activations: Sequence[str] = _ACTIVATIONS,
        name: str = "around",
    ) -> None:
        self._settings = (tuple(widths), tuple(kernels), tuple(activations))
        self._name = name
        self._shape = tuple(example.shape)
        self._dtype = str(example.dtype).removeprefix("torch.")
        self._model = copy.deepcopy(model).cpu()
        opening = self._open()
        self._plan, self._closed = opening.plan, opening.closed
        self._set = ChoiceSet(name, opening.domains, start=opening.start)

    def _open(self) -> "Opening":
        import torch

        from subshot.spaces._around_network import skeleton
        from subshot.spaces._around_plan import Opening
        from subshot.spaces._around_trace import trace

        self._bare = skeleton(self._model)
        self._device = "meta"
        try:
            traced = trace(self._bare, self._batch(self._shape, "meta"))
        except NetworkError:
            # Code that needs values, or tensors that aren't registered: then the model itself is run.
            self._bare = skeleton(self._model, device="cpu")
            self._device = "cpu"
            with torch.random.fork_rng(devices=[]):
                traced = trace(self._bare, self._batch(self._shape, "cpu"))
        widths, kernels, activations = self._settings
        opening = Opening(
            self._bare,
            traced,
            self._batch(self._shape, self._device),
            widths=widths,
            kernels=kernels,
            activations=activations,
        )
        if not opening.domains:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(opening.closed.items())[:3])
            raise NetworkError(
                f"Nothing in the model can be chosen{f' ({reasons})' if reasons else ''}.",
                "Its layers must be torch's convolutions, linear layers, norms and attention, or write a space of "
                "choices with a build function.",
            )
        return opening

    def _batch(self, shape: tuple[int, ...], device: str) -> "Tensor":
        import torch

        return torch.zeros(shape, dtype=getattr(torch, self._dtype), device=device)

    @property
    def name(self) -> str:
        """The name given, or ``FILE.py:FUNCTION`` of a space from a file."""
        return self._name

    @property
    def choice_set(self) -> ChoiceSet:
        """The choices."""
        return self._set

    @property
    def start(self) -> Arch:
        """The model itself, whose text is ``unchanged``."""
        return self.parse("unchanged")

    @property
    def closed(self) -> dict[str, str]:
        """Choices that aren't there, and why."""
        return dict(self._closed)

    @property
    def variants(self) -> tuple[str, ...]:
        """``own``."""
        return ("own",)

    @property
    def scoring_variant(self) -> str:
        """``"own"``."""
        return "own"

    @property
    def task(self) -> TaskSpec:
        """Inputs of the example's shape, and the model's number of outputs."""
        return TaskSpec((InputSpec("images", self._shape[1:], self._dtype),), self._plan.outputs)

    def network_settings(self, variant: str) -> Mapping[str, Value]:
        """A digest of the model's modules and of the choices, so that a study isn't continued on another model."""
        return {"model": self._digest()}

    def renamed(self, name: str) -> "AroundSpace":
        """The same space under another name."""
        other = copy.copy(self)
        other._name = name
        other._set = ChoiceSet(name, self._set.domains, start=self._set.values(self.start.genes))
        return other

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Build the network: the model itself where nothing is changed, else a changed one with fresh weights.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            NetworkError: The model has no layer that gives its outputs, and another number of them is asked for.
            OptionError: The task has several inputs.
        """
        from subshot.spaces._around_network import materialise

        resolve_variant(self, variant)
        changes, shape, outputs = self._changes(arch, task)
        same = not changes and outputs is None
        if same and shape == self._shape[1:]:
            return copy.deepcopy(self._model)
        shaped = self._shaped(changes, shape, outputs, batch=self._shape[0])
        if same and [p.shape for p in shaped.parameters()] == [p.shape for p in self._model.parameters()]:
            return copy.deepcopy(self._model)  # for images of another size, with the same layers
        return materialise(shaped, self._model)

    def measure(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> Size:
        """Parameters and MACs, counted on the network without values.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            NetworkError: The model has no layer that gives its outputs, and another number of them is asked for.
            OptionError: The task has several inputs.
        """
        import torch

        from subshot.networks._macs import MacCounter
        from subshot.spaces._around_trace import evaluating
        from subshot.spaces._shapes import ShapesOnly

        resolve_variant(self, variant)
        changes, shape, outputs = self._changes(arch, task)
        network = self._shaped(changes, shape, outputs, batch=self._shape[0])
        counter = MacCounter()
        with evaluating(network), torch.random.fork_rng(devices=[]), ShapesOnly(products=True), counter:
            network(self._batch((1, *shape), self._device))
        return Size(sum(p.numel() for p in network.parameters() if p.requires_grad), int(counter.macs))

    def _changes(self, arch: Arch, task: TaskSpec | None) -> tuple[dict[str, Value], tuple[int, ...], int | None]:
        """Choices that differ from the model, shape of the input, and number of outputs if it differs."""
        start = self._set.values(self.start.genes)
        changes = {name: value for name, value in self.values(arch).items() if value != start[name]}
        task = task or self.task
        if len(task.inputs) != 1:
            raise OptionError(f"The task has {len(task.inputs)} inputs.", "A space around a model has one.")
        outputs = None if task.outputs == self._plan.outputs else task.outputs
        if outputs is not None and self._plan.head is None:
            raise NetworkError(
                f"{outputs} outputs are needed, and the model has {self._plan.outputs} that no single layer gives.",
                "Give a model with the right number of outputs.",
            )
        return changes, task.inputs[0].shape, outputs

    def _shaped(
        self, changes: Mapping[str, Value], shape: tuple[int, ...], outputs: int | None, *, batch: int
    ) -> "nn.Module":
        from subshot.spaces._around_network import shape_network

        example = self._batch((batch, *shape), self._device)
        return shape_network(self._bare, self._plan, changes, example, outputs=outputs)

    def _digest(self) -> str:
        shapes = [(name, tuple(tensor.shape)) for name, tensor in self._model.state_dict().items()]
        facts = (repr(self._model), shapes, list(self._set.domains.items()), self._shape, self._dtype)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AroundSpace) and (self._name, self._digest()) == (other._name, other._digest())

    def __hash__(self) -> int:
        return hash((self._name, self._digest()))

    def __repr__(self) -> str:
        return f"AroundSpace({type(self._model).__name__}, {len(self._set.names)} choices)"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_bare"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from subshot.spaces._around_network import skeleton

        vars(self).update(state)
        self._bare = skeleton(self._model, device=self._device)


def _check_settings(widths: Sequence[float], kernels: Sequence[int], activations: Sequence[str]) -> None:
    from subshot.spaces._around_layers import ACTIVATIONS

    bad: list[object] = [one for one in widths if not (one > 0 and math.isfinite(one))]
    bad += [one for one in kernels if not isinstance(one, int) or one < 1 or one % 2 == 0]
    bad += [one for one in activations if one not in ACTIVATIONS]
    if bad:
        raise OptionError(
            f"{bad[0]!r} was given to choose from.",
            f"Widths are positive multiples, kernels odd, activations of {', '.join(ACTIVATIONS)}.",
        )
