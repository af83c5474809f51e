"""Score single networks named by text: of a space, from a Python file, from timm or torchvision."""

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subshot import __version__
from subshot._choice import Choice, parse_choices
from subshot._types import Protocol, Score, TaskSpec
from subshot.errors import DataError, MissingDependencyError, NetworkError, OptionError, UnknownNameError
from subshot.proxies._proxy import BoundProxy, Preset, bind, get_proxy, list_proxies
from subshot.spaces._space import SPACES, get_space, network_settings, resolve_variant
from subshot.studies._calibrate import calibrate
from subshot.studies._check import check_protocol
from subshot.studies._evaluator import ProxyEvaluator, network_inputs
from subshot.studies._executors import one_thread
from subshot.studies._warm import lender_of, refuse_redraws

if TYPE_CHECKING:
    import os

    from torch import nn

    from subshot.data import DataLike, TakenBatch

_FORMS = "Write SPACE:ARCH, FILE.py:FUNCTION, timm:NAME or torchvision:NAME."


@dataclass(frozen=True)
class ScoredTarget:
    """Scores of one named network.

    Attributes:
        target: The text that names it.
        protocol: How it was measured.
        scores: By proxy name.
    """

    target: str
    protocol: Protocol
    scores: Mapping[str, Score]


def score_targets(
    targets: Sequence[str],
    *,
    proxies: str | Sequence[str] = "swap",
    data: "DataLike" = "mnist_sample",
    batch_size: int = 16,
    samples: str = "random",
    unreal: str = "none",
    image_size: int | None = None,
    repeats: int = 1,
    init: str | None = None,
    bn_mode: str = "batch",
    weights: "str | os.PathLike[str] | None" = None,
    variant: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    preset: str = "shared",
) -> list[ScoredTarget]:
    """Score networks on one batch, or on one for each protocol of the proxies' papers.

    Args:
        targets: ``SPACE:ARCH``, ``FILE.py:FUNCTION``, ``timm:NAME`` or ``torchvision:NAME``. The function takes no
            arguments and returns a module; its file is executed, with torch's random state seeded by ``seed``.
        proxies: Names, with options where wanted, or ``"all"``.
        data: Where the batch comes from.
        batch_size: Samples in it.
        samples: ``random`` or ``first``.
        unreal: What to replace the batch by; see :func:`subshot.data._unreal.unreal`.
        image_size: Height and width; the data's own if not given.
        repeats: Initialisations averaged.
        init: Initialisation; ``default`` for networks of a space and ``keep`` for others if not given.
        bn_mode: Batch-norm mode.
        weights: A supernet's file, which ``subshot warm-up`` wrote: architectures of its space are scored with the
            weights it lends.
        variant: Network variant of a space.
        seed: Seed of the batch and of initialisations.
        device: Where to run.
        preset: ``shared``: one protocol for all proxies, that of the other arguments. ``paper``: batch size,
            initialisation, batch norm, input, repeats and options of each proxy's paper, as far as it has them, in
            place of the arguments; only options given with a proxy's name win. A target then stands once for each
            protocol.

    Raises:
        SubshotError: A target, proxy, data set or setting can't be used.
    """
    if preset not in ("shared", "paper"):
        raise OptionError(f"There is no preset {preset!r}.", "Use shared or paper.")
    shared = _Setting(batch_size, init, bn_mode, unreal, repeats)
    groups: dict[_Setting, list[BoundProxy]] = {}
    for one in bind(proxies) if preset == "shared" else _bind_to_papers(proxies):
        own = shared if preset == "shared" else _of_paper(one.info.preset, shared)
        groups.setdefault(own, []).append(one)
    scored = [
        _score_on(
            targets,
            several,
            setting,
            data=data,
            samples=samples,
            image_size=image_size,
            variant=variant,
            weights=None if weights is None else Path(weights),
            seed=seed,
            device=device,
        )
        for setting, several in groups.items()
    ]
    return [one for of_target in zip(*scored, strict=True) for one in of_target]


@dataclass(frozen=True)
class _Setting:
    """What protocols of papers differ in."""

    batch_size: int
    init: str | None
    bn_mode: str
    unreal: str
    repeats: int
    paper: bool = field(default=False, compare=False)  # whether the batch size is a paper's


def _of_paper(preset: Preset, shared: _Setting) -> _Setting:
    """The paper's settings; a network of the user's keeps its weights where the paper draws none of its own."""
    if preset == Preset():
        return shared
    init = shared.init if preset.initialisation == "default" else preset.initialisation
    size = preset.samples or shared.batch_size
    return _Setting(size, init, preset.batch_norm, preset.unreal, preset.repeats, paper=preset.samples is not None)


def _bind_to_papers(proxies: str | Sequence[str]) -> list[BoundProxy]:
    """Proxies with their papers' options, in their names too; a given option wins, also at its usual default."""
    found: dict[str, BoundProxy] = {}
    for text in [proxies] if isinstance(proxies, str) else proxies:
        for choice in parse_choices(text):
            for name in list_proxies() if choice.name == "all" else [choice.name]:
                (bound,) = bind(Choice(name, {**get_proxy(name).preset.options, **choice.options}))
                found[bound.name] = bound
    return list(found.values())


def _score_on(
    targets: Sequence[str],
    chosen: Sequence[BoundProxy],
    setting: _Setting,
    *,
    data: "DataLike",
    samples: str,
    image_size: int | None,
    variant: str | None,
    weights: Path | None,
    seed: int,
    device: str,
) -> list[ScoredTarget]:
    """Score networks on one batch under one protocol."""
    import torch

    from subshot.data import take_batch
    from subshot.networks.initialisation import Initialiser
    from subshot.proxies._score import score_prepared

    init = setting.init
    size = None if image_size is None else (image_size, image_size)
    try:
        batch = take_batch(data, setting.batch_size, samples=samples, seed=seed, image_size=size, unreal=setting.unreal)
    except DataError as error:
        if not (setting.paper and error.message.startswith("A batch of")):
            raise
        hint = f"{error.hint} That is the batch of {chosen[0].name}'s paper; --preset shared takes --batch-size."
        raise DataError(error.message, hint) from None
    base = Protocol(
        data=batch.name,
        data_digest=batch.digest,
        samples=batch.samples,
        batch_size=len(batch.inputs),
        repeats=setting.repeats,
        input_shape=tuple(batch.inputs.shape[1:]),
        initialisation=init or "keep",
        batch_norm=setting.bn_mode,
        device=device,
        seed=seed,
        version=__version__,
    )
    check_protocol(base)
    labels = None if batch.labels is None else torch.from_numpy(batch.labels).to(device)
    scored = []
    for target in targets:
        kind, rest = _kind(target)
        if kind.partition("(")[0] in SPACES:
            scored.append(
                _score_arch(target, kind, rest, base, batch, chosen, variant=variant, init=init, weights=weights)
            )
            continue
        if weights is not None:
            raise OptionError(f"{target} is no architecture of a space.", "Only those take the weights of a supernet.")
        network = _network(kind, rest, batch.task, seed).to(device)
        protocol = replace(base, weights="given" if init in (None, "keep") else "init")
        with one_thread():
            scores = score_prepared(
                network,
                network_inputs(batch.inputs, device),
                chosen,
                labels=labels,
                initialiser=Initialiser(network, protocol.initialisation),
                protocol=protocol,
                identity=rest,  # not the path, which has many forms
                keep_parameters=False,
            )
        scored.append(ScoredTarget(target, protocol, scores))
    return scored


def _score_arch(
    target: str,
    name: str,
    text: str,
    base: Protocol,
    batch: "TakenBatch",
    proxies: Sequence[BoundProxy],
    *,
    variant: str | None,
    init: str | None,
    weights: Path | None,
) -> ScoredTarget:
    """Score an architecture of a space exactly as a search would."""
    if init == "keep":
        raise OptionError("Initialisation 'keep' was given.", "A network built for scoring has no weights to keep.")
    space = get_space(name)
    arch = space.parse(text)
    chosen = resolve_variant(space, variant or (None if weights is not None else space.scoring_variant))
    lender = None
    if weights is not None:
        refuse_redraws(init=init or "default", repeats=base.repeats, both=False)
        lender, _ = lender_of(weights, space, batch.task, chosen)
        base, init = replace(base, weights=lender.weights), "keep"
    protocol = replace(base, variant=chosen, network=network_settings(space, chosen), initialisation=init or "default")
    bound = tuple(calibrate(one, space, batch.task, protocol) for one in proxies)
    evaluator = ProxyEvaluator(space, batch.task, batch.inputs, bound, protocol, batch.labels, lender)
    with one_thread():
        (evaluation,) = evaluator.evaluate([arch])
    return ScoredTarget(target, protocol, evaluation)


def _kind(target: str) -> tuple[str, str]:
    """What a target is (a space, a file, timm, torchvision) and which of these."""
    kind, colon, rest = _split(target)
    if not colon or not rest:
        raise OptionError(f"{target!r} names no network.", _FORMS)
    if not kind.endswith(".py") and kind not in _LIBRARIES and kind.partition("(")[0] not in SPACES:
        known = [*SPACES.names(), *_LIBRARIES]
        raise OptionError(f"{target!r}: {UnknownNameError.of('space', kind, known)}", _FORMS)
    return kind, rest


def _network(kind: str, rest: str, task: TaskSpec, seed: int) -> "nn.Module":
    """Build a network whose constructor draws its weights from the global generator, which is put back."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _from_file(Path(kind), rest) if kind.endswith(".py") else _LIBRARIES[kind](rest, task)


def _split(target: str) -> tuple[str, str, str]:
    """Split at the first colon, but not at that of a Windows drive."""
    start = 2 if len(target) > 2 and target[1] == ":" and target[2] in "\\/" else 0
    head, colon, rest = target[start:].partition(":")
    return target[:start] + head, colon, rest


def _from_file(path: Path, function: str) -> "nn.Module":
    from torch import nn
    from torch.nn.parameter import is_lazy

    if not path.is_file():
        raise DataError(f"There is no file {path}.", _FORMS)
    spec = importlib.util.spec_from_file_location(f"subshot_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look the module up
    sys.path.insert(0, str(path.parent))  # its neighbours can be imported, as when Python runs the file
    try:
        spec.loader.exec_module(module)
        make = getattr(module, function, None)
        if not callable(make):
            names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise UnknownNameError.of(f"function in {path}", function, names)
        network = make()
    except UnknownNameError:
        raise
    except (Exception, SystemExit) as error:
        raise NetworkError(
            f"{path}:{function} raised {type(error).__name__}: {error}.", "Mend the file first."
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(network, nn.Module):
        raise NetworkError(
            f"{path}:{function} returned an object of type {type(network).__name__}.",
            "It must return a torch.nn.Module.",
        )
    if any(is_lazy(parameter) for parameter in network.parameters()):
        raise NetworkError(
            f"{path}:{function} returned a network with lazy parameters, which have no shape yet.",
            "Let the function run it on a batch once.",
        )
    return network


def _from_timm(name: str, task: TaskSpec) -> "nn.Module":
    timm = _import("timm")
    if name not in timm.list_models():
        raise UnknownNameError.of("timm model", name, timm.list_models())
    network: nn.Module = timm.create_model(name, num_classes=task.outputs, in_chans=task.image_shape[0])
    return network


def _from_torchvision(name: str, task: TaskSpec) -> "nn.Module":
    models = _import("torchvision").models
    if name not in models.list_models():
        raise UnknownNameError.of("torchvision model", name, models.list_models())
    network: nn.Module = models.get_model(name, weights=None, num_classes=task.outputs)
    return network


_LIBRARIES: dict[str, Callable[[str, TaskSpec], Any]] = {"timm": _from_timm, "torchvision": _from_torchvision}


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except (ImportError, RuntimeError) as error:  # a torchvision built for another torch raises RuntimeError
        raise MissingDependencyError(
            f"{package} can't be imported: {error}.",
            f"Install it beside this torch: pip install {package} -c constraints.txt.",
        ) from error
