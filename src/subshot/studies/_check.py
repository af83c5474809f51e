"""Refuse settings that would fail in every single evaluation."""

from subshot._types import BATCH_NORM_MODES, INITIALISATIONS, Protocol
from subshot.errors import OptionError


def check_protocol(protocol: Protocol) -> None:
    """Check initialisation, batch-norm mode, repeats and device before anything is written or started.

    Raises:
        OptionError: One of them is unknown, out of range, or not there.
    """
    for kind, value, allowed in (
        ("initialisation", protocol.initialisation, INITIALISATIONS),
        ("batch-norm mode", protocol.batch_norm, BATCH_NORM_MODES),
    ):
        if value not in allowed:
            raise OptionError(f"There is no {kind} {value!r}.", f"Use one of {', '.join(allowed)}.")
    if protocol.repeats < 1:
        raise OptionError(f"{protocol.repeats} repeats were asked for.", "At least one is needed.")
    _check_device(protocol.device)


def _check_device(device: str) -> None:
    if device == "cpu":
        return  # always there, and a search on workers needs no torch in this process
    import torch

    try:
        torch.zeros(1, device=device).tolist()  # the ``meta`` device computes nothing, and says so here
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise OptionError(
            f"The device {device!r} can't be used: {reason}.", "Use cpu, or one that this torch and machine have."
        ) from error
