"""A space of your own: named choices and a function that builds the network.

::

    from subshot.spaces.choices import Space, integers, ordered, when

    def build(depth, width, act, kernel, task):
        ...  # return a torch.nn.Module

    space = Space(
        choices={
            "depth": integers(1, 6),
            "width": ordered([16, 32, 64, 128]),
            "act": ["relu", "gelu", "none"],
            "kernel": when({"act": ["relu", "gelu"]}, ordered([3, 5, 7])),
        },
        build=build,
        constraints=[lambda depth, width: depth * width <= 256],
    )

Such a space stands in a file of the user's too: ``FILE.py:FUNCTION``, where the function returns the space.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from subshot._choice import Value
from subshot._types import Arch, TaskSpec
from subshot.errors import OptionError, SubshotError
from subshot.spaces._choices import ChoiceSet, Domain, value_text
from subshot.spaces._chosen_space import ChosenSpace
from subshot.spaces._space import resolve_variant

if TYPE_CHECKING:
    from torch import Tensor, nn

    from subshot.spaces.around import AroundSpace

# What a function gets by these names isn't a choice.
_RESERVED = ("choices", "task")

_CIFAR10 = TaskSpec.images(3, 32, 32, classes=10)

Values = Domain | Sequence[Value]


def ordered(values: Sequence[Value]) -> Domain:
    """Values of which neighbours are alike, such as widths: a mutation prefers near ones."""
    return Domain(tuple(values), ordered=True)


def integers(low: int, high: int, *, step: int = 1) -> Domain:
    """Whole numbers from ``low`` to ``high``, both included.

    Raises:
        OptionError: There is none, or the step is below 1.
    """
    if step < 1 or high < low:
        raise OptionError(f"Integers from {low} to {high} in steps of {step} were asked for.", "Give low <= high.")
    return Domain(tuple(range(low, high + 1, step)), ordered=True)


def when(condition: Mapping[str, Value | Sequence[Value]], values: Values) -> Domain:
    """Values of a choice that plays a role only under a condition.

    Args:
        condition: Values of choices before it, one or several each; all must hold.
        values: The values, as for any choice.
    """
    inner = _domain(values)
    parents = tuple(
        (name, tuple(allowed) if isinstance(allowed, (list, tuple)) else (allowed,))
        for name, allowed in condition.items()
    )
    return Domain(inner.values, inner.ordered, (*parents, *inner.condition))


@final
class ChoiceSpace(ChosenSpace):
    """A user's own space, known as ``subshot.Space``.

    Functions get by name what they ask for: any choice (``None`` where it plays no role), ``choices`` (a dictionary of
    those that do) and ``task`` (:class:`~subshot.TaskSpec`: shape of the input, number of outputs). What the build
    function raises is recorded as a failed evaluation, and a search goes on.

    Args:
        choices: Values by name: a sequence, :func:`ordered`, :func:`integers` or :func:`when`; a ``range`` is ordered.
        build: Builds the network: a ``torch.nn.Module``. For several workers it stands at the top of a module.
        constraints: Predicates over choices; architectures for which one is false are never drawn. They should be
            cheap: limits on parameters and MACs belong to the search.
        start: Choices of a known architecture, which a search may begin with.
        task: What networks are built for where nothing else is said; images of 3 x 32 x 32 and 10 classes if not given.
        name: What the space is called.

    Raises:
        OptionError: A choice, function or name that can't be used.
        ArchError: The start is no architecture.
    """

    def __init__(
        self,
        choices: Mapping[str, Values],
        build: "Callable[..., nn.Module]",
        *,
        constraints: Sequence[Callable[..., object]] = (),
        start: Mapping[str, Value] | None = None,
        task: TaskSpec | None = None,
        name: str = "own",
    ) -> None:
        if not isinstance(choices, Mapping) or not callable(build):
            raise OptionError(
                f"Choices of type {type(choices).__name__} and a build of type {type(build).__name__} were given.",
                "Choices are a dictionary of names and values, build is a function.",
            )
        reserved = [one for one in _RESERVED if one in choices]
        if reserved:
            raise OptionError(f"A choice is called {reserved[0]!r}.", "Functions get something else by this name.")
        if not name or name != name.strip():
            raise OptionError(f"The space was given the name {name!r}.", "Give it a name.")
        self._choices = {key: _domain(values) for key, values in choices.items()}
        self._build = build
        self._constraints = tuple(constraints)
        self._start = None if start is None else dict(start)
        self._task = task or _CIFAR10
        self._name = name
        self._call = _Call(build, tuple(choices), "build function", extra=("task",))
        checks = [_Check(_Call(one, tuple(choices), "constraint")) for one in self._constraints]
        self._set = ChoiceSet(name, self._choices, constraints=checks)
        self._start_genes = None if start is None else self._set.read(start)

    @staticmethod
    def around(model: "nn.Module", example: "Tensor | None" = None, *, name: str = "around") -> "AroundSpace":
        """Open up a model of yours; see :func:`subshot.spaces.around.around`."""
        from subshot.spaces.around import around

        return around(model, example, name=name)

    @property
    def name(self) -> str:
        """The name given, or ``FILE.py:FUNCTION`` of a space from a file."""
        return self._name

    @property
    def choice_set(self) -> ChoiceSet:
        """The choices."""
        return self._set

    @property
    def start(self) -> Arch | None:
        """The architecture given as the start."""
        return None if self._start_genes is None else self._arch(self._start_genes)

    @property
    def variants(self) -> tuple[str, ...]:
        """``own``: what the build function returns."""
        return ("own",)

    @property
    def scoring_variant(self) -> str:
        """``"own"``."""
        return "own"

    @property
    def task(self) -> TaskSpec:
        """What networks are built for where nothing else is said."""
        return self._task

    def network_settings(self, variant: str) -> Mapping[str, Value]:
        """A digest of choices and functions, so that a study isn't continued on another space."""
        return {"choices": self._digest()}

    def renamed(self, name: str) -> "ChoiceSpace":
        """The same space under another name."""
        return ChoiceSpace(
            self._choices, self._build, constraints=self._constraints, start=self._start, task=self._task, name=name
        )

    def build(self, arch: Arch, task: TaskSpec | None = None, *, variant: str | None = None) -> "nn.Module":
        """Call the build function.

        Raises:
            ArchError: Not an architecture of this space.
            UnknownNameError: There is no such variant.
            TypeError: The function returned something else than a module, or one without shapes.
        """
        from torch import nn
        from torch.nn.parameter import is_lazy

        resolve_variant(self, variant)
        values = self.values(arch)
        try:
            network = self._call(values, task=task or self._task)
        except SubshotError as error:
            # For one architecture only: a search records it and goes on, as with any other exception.
            raise RuntimeError(str(error)) from error
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"the build function {self._call.name} returned an object of type {type(network).__name__}, "
                f"not a torch.nn.Module, for {self.format(arch)}"
            )
        if any(is_lazy(parameter) for parameter in network.parameters()):
            raise TypeError(f"the build function {self._call.name} returned lazy parameters, which have no shape yet")
        return network

    def _digest(self) -> str:
        functions = [_Call.describe(one) for one in (self._build, *self._constraints)]
        return hashlib.sha256(repr((list(self._choices.items()), functions)).encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChoiceSpace) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self._name, self._digest()))

    def _identity(self) -> tuple[object, ...]:
        return self._name, list(self._choices.items()), self._build, self._constraints, self._start, self._task

    def __repr__(self) -> str:
        return f"Space({self._name!r}, choices={', '.join(self._choices)}, build={self._call.name})"

    def __reduce__(self) -> tuple[Any, ...]:
        for function, role in ((self._build, "build function"), *((one, "constraint") for one in self._constraints)):
            qualified = getattr(function, "__qualname__", "")
            if "<lambda>" in qualified or "<locals>" in qualified:
                what = "a lambda" if "<lambda>" in qualified else "defined inside another function"
                raise OptionError(
                    f"A {role} of the space {self._name!r} is {what} ({qualified}): no other process can import it.",
                    "Define it by 'def' at the top of a module, or use one worker.",
                )
        arguments = (self._choices, self._build, self._constraints, self._start, self._task, self._name)
        return _rebuild, arguments


# As users know it; inside the library `Space` is the protocol that every space follows.
Space = ChoiceSpace


def _rebuild(
    choices: Mapping[str, Values],
    build: "Callable[..., nn.Module]",
    constraints: Sequence[Callable[..., object]],
    start: Mapping[str, Value] | None,
    task: TaskSpec,
    name: str,
) -> ChoiceSpace:
    return ChoiceSpace(choices, build, constraints=constraints, start=start, task=task, name=name)


def _domain(values: Values) -> Domain:
    if isinstance(values, Domain):
        return values
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise OptionError(
            f"{values!r} was given as the values of a choice.", "Give a list, ordered(...), integers(...) or when(...)."
        )
    return Domain(tuple(values), ordered=isinstance(values, range))


class _Call:
    """A user's function, called with what its parameters ask for.

    Raises:
        OptionError: It asks for something else, or leaves a choice unused.
    """

    def __init__(
        self, function: Callable[..., Any], choices: tuple[str, ...], role: str, *, extra: tuple[str, ...] = ()
    ):
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        if not callable(function):
            raise OptionError(f"{function!r} was given as a {role}.", "Give a function.")
        parameters = inspect.signature(function).parameters.values()
        self._everything = any(one.kind is one.VAR_KEYWORD for one in parameters)
        named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        self._wanted = [one.name for one in named if one.name in (*choices, "choices", *extra)]
        self._all = choices
        allowed = f"It may ask for {', '.join((*choices, 'choices', *extra))}."
        unknown = [
            one.name for one in parameters
            if one.name not in self._wanted and one.default is one.empty
            and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        ]  # fmt: skip
        if unknown:
            raise OptionError(f"The {role} {self.name} asks for {unknown[0]!r}, which is no choice.", allowed)
        unused = [one for one in choices if one not in self._wanted]
        if role == "build function" and unused and not self._everything and "choices" not in self._wanted:
            raise OptionError(f"The {role} {self.name} doesn't ask for the choice {unused[0]!r}.", allowed)

    def __call__(self, values: Mapping[str, Value], **extra: object) -> Any:
        given = {"choices": dict(values), **dict.fromkeys(self._all), **values, **extra}
        names = [*self._all, *self._wanted] if self._everything else self._wanted
        return self.function(**{name: given[name] for name in names})

    @staticmethod
    def describe(function: Callable[..., Any]) -> str:
        """The function's text where there is one, without an address that differs from run to run."""
        name = getattr(function, "__qualname__", type(function).__qualname__)
        try:
            return f"{name}\n{inspect.getsource(function)}"
        except (OSError, TypeError):
            return name


class _Check:
    """A constraint with a name for messages."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        code = getattr(call.function, "__code__", None)
        line = f" of line {code.co_firstlineno}" if call.name == "<lambda>" and code else ""
        self.name = f"{call.name}{line}"

    def __call__(self, values: Mapping[str, Value]) -> bool:
        try:
            return bool(self._call(values))
        except Exception as error:
            shown = " ".join(f"{name}={value_text(value)}" for name, value in values.items())
            raise OptionError(
                f"The constraint {self.name} raised {type(error).__name__}: {error} for {shown}.",
                "It gets None for a choice that plays no role.",
            ) from error
