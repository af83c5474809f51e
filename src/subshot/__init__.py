"""Find good neural networks before anyone trains them.

>>> import subshot
>>> subshot.list_spaces()
['darts', 'nasbench201']

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
    from subshot.proxies._proxy import get_proxy as get_proxy
    from subshot.proxies._proxy import list_proxies as list_proxies
    from subshot.proxies._score import score as score
    from subshot.spaces._space import get_space as get_space
    from subshot.spaces._space import list_spaces as list_spaces
    from subshot.strategies._strategy import get_strategy as get_strategy
    from subshot.strategies._strategy import list_strategies as list_strategies
    from subshot.studies._ranked import RankReport as RankReport
    from subshot.studies._result import Study as Study
    from subshot.studies.ranking import rank as rank
    from subshot.studies.study import search as search

_HOME = {
    "Arch": "_types",
    "Cost": "_types",
    "Evaluation": "_types",
    "InputSpec": "_types",
    "Protocol": "_types",
    "RankReport": "studies._ranked",
    "Score": "_types",
    "Study": "studies._result",
    "SubshotError": "errors",
    "TaskSpec": "_types",
    "Trial": "_types",
    "aggregate": "aggregators",
    "get_aggregator": "aggregators",
    "get_benchmark": "benchmarks._benchmark",
    "get_proxy": "proxies._proxy",
    "get_space": "spaces._space",
    "get_strategy": "strategies._strategy",
    "list_aggregators": "aggregators",
    "list_benchmarks": "benchmarks._benchmark",
    "list_proxies": "proxies._proxy",
    "list_spaces": "spaces._space",
    "list_strategies": "strategies._strategy",
    "load_images": "data",
    "rank": "studies.ranking",
    "score": "proxies._score",
    "search": "studies.study",
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
