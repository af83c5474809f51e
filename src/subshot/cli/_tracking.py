"""What commands share that can be followed elsewhere."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

Tracker = Annotated[
    str | None,
    typer.Option(
        "--tracker",
        help="Follow it elsewhere too: 'tensorboard' or 'mlflow', with settings where wanted: "
        "'tensorboard(folder=logs)', 'mlflow(uri=http://localhost:5000,experiment=mine)'; several by commas.",
        show_default=False,
    ),
]

T = TypeVar("T")


def together(*listeners: Callable[[T], None]) -> Callable[[T], None]:
    """One callback that calls several, in order."""

    def tell(what: T) -> None:
        for listener in listeners:
            listener(what)

    return tell
