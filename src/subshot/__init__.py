"""Find good neural networks before anyone trains them.

>>> import subshot
>>> "nasbench201" in subshot.list_spaces()
True

Names are loaded when they are first used, so importing subshot doesn't import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from subshot._types import Arch as Arch
    from subshot._types import Cost as Cost
    from subshot._types import Evaluation as Evaluation
    from subshot._types import InputSpec as InputSpec
    from subshot._types import Protocol as Protocol
    from subshot._types import Score as Score
    from subshot._types import TaskSpec as TaskSpec
    from subshot._types import Trial as Trial
    from subshot.aggregators import aggregate as aggregate
    from subshot.aggregators import get_aggregator as get_aggregator
    from subshot.aggregators import list_aggregators as list_aggregators
    from subshot.benchmarks._benchmark import get_benchmark as get_benchmark
    from subshot.benchmarks._benchmark import list_benchmarks as list_benchmarks
    from subshot.data import load_images as load_images
    from subshot.errors import SubshotError as SubshotError
    from subshot.export.winner import export_winner as export_winner
    from subshot.proxies._proxy import get_proxy as get_proxy
    from subshot.proxies._proxy import list_proxies as list_proxies
    from subshot.proxies._score import score as score
    from subshot.spaces._space import get_space as get_space
    from subshot.spaces._space import list_spaces as list_spaces
    from subshot.spaces.around import around as around
    from subshot.spaces.choices import Space as Space
    from subshot.spaces.choices import integers as integers
    from subshot.spaces.choices import ordered as ordered
    from subshot.spaces.choices import when as when
    from subshot.strategies._strategy import get_strategy as get_strategy
    from subshot.strategies._strategy import list_strategies as list_strategies
    from subshot.studies._ranked import RankReport as RankReport
    from subshot.studies._result import Study as Study
    from subshot.studies.ranking import rank as rank
    from subshot.studies.study import search as search
    from subshot.studies.training import train as train
    from subshot.supernets._supernet import make_supernet as make_supernet
    from subshot.supernets.evaluate import evaluate_paths as evaluate_paths
    from subshot.supernets.files import load_supernet as load_supernet
    from subshot.supernets.files import save_supernet as save_supernet
    from subshot.supernets.warm_up import WarmUp as WarmUp
    from subshot.supernets.warm_up import warm_up as warm_up
    from subshot.trackers._tracker import Tracker as Tracker
    from subshot.trackers._tracker import list_trackers as list_trackers
    from subshot.trackers._tracker import make_tracker as make_tracker

_HOME = {
    "Arch": "_types",
    "Cost": "_types",
    "Evaluation": "_types",
    "InputSpec": "_types",
    "Protocol": "_types",
    "RankReport": "studies._ranked",
    "Score": "_types",
    "Space": "spaces.choices",
    "Study": "studies._result",
    "SubshotError": "errors",
    "TaskSpec": "_types",
    "Tracker": "trackers._tracker",
    "Trial": "_types",
    "WarmUp": "supernets.warm_up",
    "aggregate": "aggregators",
    "around": "spaces.around",
    "evaluate_paths": "supernets.evaluate",
    "export_winner": "export.winner",  # subshot.export is the folder
    "get_aggregator": "aggregators",
    "get_benchmark": "benchmarks._benchmark",
    "get_proxy": "proxies._proxy",
    "get_space": "spaces._space",
    "get_strategy": "strategies._strategy",
    "integers": "spaces.choices",
    "list_aggregators": "aggregators",
    "list_benchmarks": "benchmarks._benchmark",
    "list_proxies": "proxies._proxy",
    "list_spaces": "spaces._space",
    "list_strategies": "strategies._strategy",
    "list_trackers": "trackers._tracker",
    "load_images": "data",
    "load_supernet": "supernets.files",
    "make_supernet": "supernets._supernet",
    "make_tracker": "trackers._tracker",
    "ordered": "spaces.choices",
    "rank": "studies.ranking",
    "save_supernet": "supernets.files",
    "score": "proxies._score",
    "search": "studies.study",
    "train": "studies.training",
    "warm_up": "supernets.warm_up",
    "when": "spaces.choices",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'subshot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"subshot.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
