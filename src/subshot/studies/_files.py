"""Files of a run folder are replaced as a whole."""

from pathlib import Path

from subshot.errors import StudyError


def write_whole(path: Path, content: str) -> None:
    """Replace a file at once, so that a kill leaves the old one or the new one.

    Raises:
        StudyError: It can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StudyError(f"{path} can't be written: {error.strerror}.", "Check the folder.") from error
