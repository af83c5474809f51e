"""Keep the command that works on a run folder, for ``subshot status`` to say what continues it."""

import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from subshot.errors import StudyError
from subshot.studies._files import write_whole
from subshot.studies._start import Start
from subshot.studies.status import COMMANDS, kept_commands


class KeptCommand:
    """Writes this process's command into the run folder, once it is sure that the folder is its own.

    Args:
        kind: Which command.
        facts: What else to keep, JSON values.
    """

    def __init__(self, kind: str, **facts: int) -> None:
        self._kind, self._facts = kind, facts
        self._run: Path | None = None
        self._written = False

    def on_start(self, start: Start) -> None:
        """Which folder it is."""
        self._run = start.run

    def on_warm_up(self, state: Any) -> None:
        """Likewise, but the folder may still hold another study, whose command stays."""
        if self._run is not None and self._kind not in kept_commands(self._run):
            self.on_progress(state)

    def on_progress(self, progress: Any) -> None:
        """The work has begun, so nothing about the folder was refused."""
        if self._written or self._run is None:
            return
        self._written = True
        words = [word for word in sys.argv[1:] if word != "--fresh"]  # continuing isn't starting anew
        mine = {self._kind: {"command": shlex.join(["subshot", *words]), **self._facts}}
        with contextlib.suppress(StudyError):  # it is a convenience
            write_whole(self._run / COMMANDS, json.dumps({**kept_commands(self._run), **mine}, indent=2) + "\n")
