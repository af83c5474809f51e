"""What to do where a published table isn't here: which file goes where, whose numbers they are, and another way."""

from collections.abc import Sequence


def how_to_get(
    files: Sequence[str],
    *,
    columns: str,
    origin: str,
    archive: str = "",
    target: str = "",
    space: str = "",
) -> str:
    """The message; subshot downloads nothing.

    Args:
        files: The table's files below the folder of data.
        columns: Columns that they have, in words.
        origin: Public address of those who measured the numbers.
        archive: What is handed out there, if ``subshot convert`` reads it.
        target: A target that the converted table has; or else a column for an example.
        space: The space, for tables that aren't converted.
    """
    put = f"Put {' and '.join(files)} below SUBSHOT_DATA: {columns}."
    if archive:
        return (
            f"{put} The original is {archive} of {origin}: 'subshot convert {archive} mine.csv.gz' makes another table "
            f"of it, for --table mine.csv.gz --target {target}."
        )
    return (
        f"{put} The numbers are from {origin}, in a form that 'subshot convert' doesn't read; a table made of them can "
        f"have any name and columns: --table FILE --space {space} --target COLUMN."
    )
