"""What can't be had is noted and costs the rest nothing."""

from collections.abc import Callable
from typing import TypeVar

from subshot.proxies._proxy import Need

T = TypeVar("T")


def attempt(missing: dict[Need, Exception], need: Need, action: Callable[[], T]) -> T | None:
    """What ``action`` gives, or ``None`` and a note in ``missing`` of why it gave nothing."""
    try:
        return action()
    except Exception as error:  # one proxy's trouble is not the others'
        missing[need] = error.with_traceback(None)  # its frames would keep the graph alive
        return None
