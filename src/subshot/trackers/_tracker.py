"""What is told to trackers and when; a writer, one for each of them, only knows how to write it down."""

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

from subshot._choice import Choice, Value, check_options, option_defaults, parse_choices
from subshot._registry import Registry
from subshot.errors import MissingDependencyError, StudyError
from subshot.studies._checkpoints import TrainEpoch
from subshot.studies._result import Study
from subshot.studies._start import Start

if TYPE_CHECKING:
    from subshot.studies._driver import Progress
    from subshot.training._run import FitState
    from subshot.training._training import Training

Status = Literal["done", "interrupted", "failed"]

# A curve gets about so many points: more show no more, and a server takes its time for each.
_POINTS = 200

# Files of a run folder that are handed on at the end, those of them that are there.
_FILES = ("best.json", "train.json", "report.html")


class Writer(Protocol):
    """Writes down what it is told, in the form of one tracker.

    Methods are called in the order ``begin``, then the others as often as needed, then ``end``; and again from the
    start for another run.
    """

    def begin(self, start: Start, settings: Mapping[str, str]) -> None:
        """Open a run; ``settings`` are those of ``start``, flat: ``protocol.batch_size``."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """A finite value of a curve, for example ``search/best``."""

    def file(self, path: Path) -> None:
        """A file that belongs to the run."""

    def end(self, status: Status) -> None:
        """Close the run."""


@dataclass(frozen=True)
class TrackerInfo:
    """A tracker's name and how its writer is made.

    Attributes:
        name: Registry name, also the function's and the file's.
        make: Builds the writer from the options; imports the package, and touches nothing else.
    """

    name: str
    make: Callable[..., Writer]

    @property
    def defaults(self) -> dict[str, Value]:
        """The options and their defaults."""
        return option_defaults(self.make)


TRACKERS: Registry[TrackerInfo] = Registry("tracker", "subshot.trackers")

M = TypeVar("M", bound=Callable[..., Writer])


def tracker(make: M) -> M:
    """Register a function that makes a writer, under its own name."""
    TRACKERS.register(make.__name__, TrackerInfo(make.__name__, make))
    return make


def package(module: str) -> Any:
    """Import a module of a tracker's package, which is also the name of our extra.

    Raises:
        MissingDependencyError: It can't be imported; the message says how to install it.
    """
    name = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"The tracker {name!r} needs {name}, which can't be imported: {error}.",
            f"Install it with: pip install 'subshot[{name}]' -c constraints.txt",
        ) from error


def list_trackers() -> list[str]:
    """Names of all trackers."""
    return TRACKERS.names()


def make_tracker(trackers: "str | Choice | Writer | Sequence[str | Choice | Writer]" = ()) -> "Tracker":
    """A tracker that tells all of those that are named; without one, it tells nobody.

    Args:
        trackers: Names, with settings where wanted, by commas or as a sequence: ``"tensorboard(folder=logs)"``; or
            writers of your own.

    Raises:
        UnknownNameError: No tracker, or no setting, has that name.
        OptionError: A setting of the wrong type.
        MissingDependencyError: Its package isn't installed.
    """
    given = list(trackers) if isinstance(trackers, Sequence) and not isinstance(trackers, str) else [trackers]
    writers: list[Writer] = []
    for one in given:
        if not isinstance(one, (str, Choice)):
            writers.append(one)
            continue
        for choice in parse_choices(one):
            info = TRACKERS.get(choice.name)
            writers.append(info.make(**check_options(f"tracker {info.name}", choice.options, info.defaults)))
    return Tracker(writers)


class Tracker:
    """Follows runs: its methods are the callbacks of ``search``, ``warm_up`` and ``train``.

    Nothing is written before the first thing worth telling, so that a run that is refused leaves nothing. A writer
    that fails later is left out with a warning: it mustn't cost the work that it follows.

    Args:
        writers: Those that are told. :func:`make_tracker` makes them by name.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = list(writers)
        self._start: Start | None = None
        self._begun = False
        self._status: Status = "done"
        self._point = -1
        self._told: dict[str, tuple[int, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._status == "done":
            ours = issubclass(kind, Exception)
            self._status = "failed" if ours else "interrupted"
        self._end()

    def on_start(self, start: Start) -> None:
        """A run begins; for ``search(on_start=...)`` and ``train(on_start=...)``."""
        self._end()
        self._start = start

    def on_progress(self, progress: "Progress") -> None:
        """An architecture was evaluated; for ``search(on_progress=...)``."""
        done = progress.evaluations
        if not self._due(done, progress.budget) or progress.best is None:
            return
        self._scalar("search/best", progress.best.score.value, done)
        for name, value in progress.best.costs.items():
            self._scalar(f"search/best_{name}", value, done)
        self._scalar("search/seconds", progress.seconds, done)

    def on_warm_up(self, state: "FitState") -> None:
        """A step of a warm-up; for ``search(on_warm_up=...)`` and ``warm_up(on_step=...)``."""
        if self._due(state.step, state.steps) and state.step:
            self._scalar("warm_up/loss", state.loss, state.step)

    def on_epoch(self, epoch: TrainEpoch) -> None:
        """An epoch of a training; for ``train(on_epoch=...)``."""
        label = f"trial_{epoch.number}" if epoch.role == "trial" else epoch.role
        for name, value in (
            ("loss", epoch.loss),
            ("validation_loss", epoch.validation_loss),
            (f"validation_{epoch.metric}", epoch.validation),
        ):
            self._scalar(f"train/{label}/{name}", value, epoch.epoch)

    def finish(self, result: "Study | Training") -> None:
        """Tell how a run ended, and hand its files on: ``best.json``, ``train.json``, ``report.html``."""
        if isinstance(result, Study):
            run, self._status = result.run, result.status
            self._scalar("search/evaluations", result.evaluations, result.evaluations)
            if result.best is not None:
                # An aggregate is of another scale than the proxy that the curve is of.
                name = "search/best" if result.aggregate is None else f"search/best_{result.aggregate}"
                self._scalar(name, result.best.score.value, result.evaluations)
        else:
            run = result.weights.parent
            for one in result.networks:
                if one.test is not None:
                    self._scalar(f"train/{one.role}/test_{result.metric}", one.test, one.epochs)
        for path in () if run is None else [run / name for name in _FILES if (run / name).is_file()]:
            self._each(lambda writer, path=path: writer.file(path))  # type: ignore[misc]

    def _due(self, done: int, total: int) -> bool:
        """Whether a curve's next point is reached."""
        point = done * _POINTS // max(1, total)
        if point == self._point and done != total:
            return False
        self._point = point
        return True

    def _scalar(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value) and self._told.get(name) != (step, value):
            self._told[name] = (step, value)
            self._each(lambda writer: writer.scalar(name, float(value), step))

    def _each(self, tell: Callable[[Writer], None]) -> None:
        self._begin()
        for writer in list(self._writers):
            try:
                tell(writer)
            except Exception as error:
                self._writers.remove(writer)
                warnings.warn(
                    f"The tracker {_called(writer)} failed and is told no more: {_said(error)}",
                    RuntimeWarning,
                    stacklevel=4,
                )

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        start = self._start or Start("search", None, {})
        settings = flat(start.settings)
        for writer in self._writers:
            try:
                writer.begin(start, settings)
            except Exception as error:
                self._writers = []
                raise StudyError(
                    f"The tracker {_called(writer)} can't be written to: {_said(error)}.",
                    "Mend its settings, or leave it out: the run continues where it is.",
                ) from error

    def _end(self) -> None:
        if self._begun:
            status = self._status
            self._each(lambda writer: writer.end(status))
        self._start, self._begun, self._status, self._point = None, False, "done", -1
        self._told = {}


def flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings in settings by dotted names, as texts: a text as it is, the rest in JSON."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{key}.{inner}": text for inner, text in flat(value).items()}
        else:
            found[key] = value if isinstance(value, str) else json.dumps(value, default=str)
    return found


def _called(writer: Writer) -> str:
    return type(writer).__name__.lstrip("_")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". \n")
