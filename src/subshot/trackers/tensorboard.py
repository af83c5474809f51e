"""TensorBoard: event files that ``tensorboard --logdir runs`` shows, beside what they are about."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from subshot.studies._start import Start
from subshot.trackers._tracker import Status, Writer, package, tracker


@tracker
def tensorboard(*, folder: str | None = None) -> Writer:
    """Curves and settings as event files.

    A run that continues tells its curves from the start; TensorBoard shows these alone. Files of a run stay where they
    are: their paths are among the texts.

    Args:
        folder: Where, with a folder inside for each run and what it does; the folder ``tensorboard`` of the run if not
            given.

    Raises:
        MissingDependencyError: tensorboard isn't installed.
    """
    package("tensorboard")
    return _TensorBoard(folder)


@final
class _TensorBoard:
    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._writer: Any = None

    def begin(self, start: Start, settings: Mapping[str, str]) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        if self._folder is None:
            home = Path("tensorboard") if start.run is None else start.run / "tensorboard"
        else:
            home = Path(self._folder) if start.run is None else Path(self._folder) / start.run.name
        # Purging from step 0 on: what an interrupted part of the same run wrote before is told again.
        self._writer = SummaryWriter(str(home / start.kind), purge_step=0)
        rows = "\n".join(f"| {name} | {value.replace('|', '&#124;')} |" for name, value in settings.items())
        self._writer.add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}")
        for summary in hparams(dict(settings), {}):  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(summary)

    def scalar(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def file(self, path: Path) -> None:
        self._writer.add_text(f"files/{path.name}", str(path))

    def end(self, status: Status) -> None:
        self._writer.add_text("status", status)
        self._writer.close()
