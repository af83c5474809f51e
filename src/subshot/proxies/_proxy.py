"""What a proxy is: a pure reducer from evidence to a number, and the facts declared about it."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from subshot._choice import Choice, Value, check_options, option_defaults, parse_choices
from subshot._registry import Registry

if TYPE_CHECKING:
    from subshot.proxies._evidence import Evidence


class Need(enum.Flag):
    """What a look has to gather; the needs of several proxies are joined and served by the same passes."""

    PARAMETERS = enum.auto()
    MACS = enum.auto()
    PATTERNS = enum.auto()
    TERNARY = enum.auto()
    AGREEMENT = enum.auto()
    WEIGHTS = enum.auto()
    LOSS = enum.auto()  # its value alone
    GRADIENT = enum.auto()  # of the loss, for each weight
    SALIENCY = enum.auto()  # of the loss, for each output channel
    CURVATURE = enum.auto()  # Hessian of the loss times its gradient
    JACOBIAN = enum.auto()  # of the summed output, for each sample's input
    LABELS = enum.auto()
    ABSOLUTE = enum.auto()  # SynFlow's pass
    ABSOLUTE_NORM = enum.auto()  # the same with batch norm
    NOISE = enum.auto()  # Zen's pass
    HALVES = enum.auto()  # gradients of the loss for each half of the batch
    QUARTERS = enum.auto()  # and for each quarter
    QUARTERS_STEPPED = enum.auto()  # with a step of gradient descent after each
    KERNEL = enum.auto()  # neural tangent kernel, batch statistics held fixed
    KERNEL_COUPLED = enum.auto()  # and through the batch statistics, one backward pass for each sample
    GRADIENT_SIGNS = enum.auto()  # agreement in sign of the samples' loss gradients
    OUTPUT_FISHER = enum.auto()  # Fisher matrix of the predicted distribution for one number of each parameter
    CORRELATION = enum.auto()  # of channels, for each layer
    CORRELATION_OF_FEW = enum.auto()  # of eight of them
    EVERY_MODULE = enum.auto()  # both for modules that are no layers too
    EFFECTIVE_RANK = enum.auto()  # of features, for each layer
    BLOCKS = enum.auto()  # spectrum of the features of each block
    TRAINABILITY = enum.auto()  # and how gradients pass through it
    HIDDEN = enum.auto()  # spectrum of the hidden layer of each feed-forward network


@dataclass(frozen=True)
class Reading:
    """A reducer's answer where a bare number is not enough.

    Attributes:
        value: The score; higher is better.
        parts: Named raw terms.
        warnings: What a reader should know before trusting the value.
        not_applicable: Why the proxy is not defined here; empty if it is.
    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    not_applicable: str = ""


@dataclass(frozen=True)
class Preset:
    """The protocol of a proxy's paper, as far as a network of its own is not part of it.

    Attributes:
        samples: Batch size; ``None`` where the paper names none.
        initialisation: How weights are drawn.
        batch_norm: Batch-norm mode.
        unreal: What stands in for real images and labels, as :func:`subshot.data._unreal` has it.
        repeats: Looks averaged.
        options: Options of the proxy in place of its defaults.
    """

    samples: int | None = None
    initialisation: str = "default"
    batch_norm: str = "batch"
    unreal: str = "none"
    repeats: int = 1
    options: Mapping[str, Value] = field(default_factory=dict)


Reducer = Callable[..., float | Reading]
# From parameter counts of sampled networks and the options given to options for those that are not.
Calibrate = Callable[[Sequence[int], Mapping[str, Value]], Mapping[str, Value]]
# Raises an OptionError for options outside their range.
Check = Callable[[Mapping[str, Value]], None]
R = TypeVar("R", bound=Reducer)


@dataclass(frozen=True)
class ProxyInfo:
    """A proxy and the facts about it.

    Attributes:
        name: Registry name, also the function's and the file's.
        reduce: The reducer: evidence and keyword options to a number or a :class:`Reading`. Higher is better.
        paper: Where it was published.
        formula: The formula in one line.
        needs: What a look has to gather, given the options.
        labels: Whether labels are used.
        scale: How values may be compared.
        calibrate: Options to take from parameter counts of networks sampled from a space, or ``None``.
        check: Refuses options outside their range, before anything is built or written; ``None`` if any will do.
        preset: The paper's own protocol; by default proxies are scored under a shared one.
    """

    name: str
    reduce: Reducer
    paper: str
    formula: str
    needs: Callable[[Mapping[str, Value]], Need]
    labels: bool
    scale: str
    calibrate: Calibrate | None = None
    check: Check | None = None
    preset: Preset = field(default_factory=Preset)

    @property
    def defaults(self) -> dict[str, Value]:
        """The options and their defaults."""
        return option_defaults(self.reduce)


@dataclass(frozen=True)
class BoundProxy:
    """A proxy with its options set.

    Attributes:
        info: The proxy.
        options: All options, defaults included.
        name: The proxy's name and the options given: the key of its score.

    Raises:
        OptionError: An option outside its range.
    """

    info: ProxyInfo
    options: Mapping[str, Value]
    name: str

    def __post_init__(self) -> None:
        if self.info.check is not None:
            self.info.check(self.options)

    def __reduce__(self) -> tuple[Callable[..., "BoundProxy"], tuple[str, dict[str, Value], str]]:
        return _rebind, (self.info.name, dict(self.options), self.name)  # a worker looks the reducer up by its name

    @property
    def needs(self) -> Need:
        """What a look has to gather."""
        return self.info.needs(self.options)

    @property
    def changed(self) -> dict[str, Value]:
        """Options that are not at their defaults."""
        return {key: value for key, value in self.options.items() if value != self.info.defaults[key]}

    def read(self, evidence: "Evidence") -> Reading:
        """Reduce the evidence."""
        answer = partial(self.info.reduce, **self.options)(evidence)
        return answer if isinstance(answer, Reading) else Reading(float(answer))

    def with_options(self, options: Mapping[str, Value]) -> "BoundProxy":
        """The same proxy under the same name with some options replaced."""
        return BoundProxy(self.info, {**self.options, **options}, self.name)


def _rebind(proxy_name: str, options: Mapping[str, Value], name: str) -> BoundProxy:
    return BoundProxy(PROXIES.get(proxy_name), options, name)


PROXIES: Registry[ProxyInfo] = Registry("proxy", "subshot.proxies")


def proxy(
    *,
    paper: str,
    formula: str,
    needs: Need | Callable[[Mapping[str, Value]], Need],
    scale: str,
    labels: bool = False,
    calibrate: Calibrate | None = None,
    check: Check | None = None,
    preset: Preset | None = None,
) -> Callable[[R], R]:
    """Register the decorated reducer as a proxy under its own name; the arguments are those of :class:`ProxyInfo`."""

    def register(reduce: R) -> R:
        needs_of = needs if callable(needs) else lambda options: needs
        name = reduce.__name__
        protocol = preset or Preset()
        info = ProxyInfo(name, reduce, paper, formula, needs_of, labels, scale, calibrate, check, protocol)
        PROXIES.register(name, info)
        return reduce

    return register


def bind(proxies: str | Choice | BoundProxy | Sequence[str | Choice | BoundProxy]) -> list[BoundProxy]:
    """Look proxies up and set their options.

    Args:
        proxies: Names, with options where wanted (``"swap(ternary=true)"``), or bound proxies; ``"all"`` stands for
            every registered proxy.

    Raises:
        UnknownNameError: No proxy, or no option, has that name.
        OptionError: An option of the wrong type or outside its range.
    """
    items: Sequence[Any] = [proxies] if isinstance(proxies, (str, Choice, BoundProxy)) else list(proxies)
    bound: list[BoundProxy] = []
    for item in items:
        if isinstance(item, BoundProxy):
            bound.append(item)
            continue
        for choice in parse_choices(item):
            names = PROXIES.names() if choice.name == "all" else [choice.name]
            for name in names:
                info = PROXIES.get(name)
                options = check_options(f"proxy {name}", choice.options, info.defaults)
                changed = {key: value for key, value in options.items() if value != info.defaults[key]}
                bound.append(BoundProxy(info, {**info.defaults, **options}, str(Choice(name, changed))))
    unique = {one.name: one for one in bound}
    return list(unique.values())


def get_proxy(name: str) -> ProxyInfo:
    """The facts about the proxy called ``name``.

    Raises:
        UnknownNameError: No proxy has that name.
    """
    return PROXIES.get(name)


def list_proxies() -> list[str]:
    """Names of all proxies."""
    return PROXIES.names()
