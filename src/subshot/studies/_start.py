"""What a run tells once, when it begins: enough to name it elsewhere and to say how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Start:
    """A run that begins, when nothing can be refused any more but by what the folder holds.

    Attributes:
        kind: What is done.
        run: Run folder, if there is one; it may not be there yet.
        settings: What the result depends on, JSON values.
    """

    kind: Literal["search", "rank", "train"]
    run: Path | None
    settings: Mapping[str, Any]
