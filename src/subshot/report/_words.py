"""Words that several chapters use: protocols as lists, and durations."""

from collections.abc import Mapping

from subshot.report._markup import Content, Html, element, facts


def protocol_facts(protocol: Mapping[str, object], settings: Mapping[str, object]) -> Html:
    """Everything that two runs must share to be compared.

    Args:
        protocol: How scores were measured, in JSON values.
        settings: What was run; a name that both have is shown once.
    """
    pairs: list[tuple[str, Content]] = [
        (name.replace("_", " "), shown) for name, value in {**settings, **protocol}.items() if (shown := plain(value))
    ]
    return element("div", facts(pairs), attributes={"class": "columns"})


def plain(value: object) -> str:
    """A JSON value in words."""
    if isinstance(value, Mapping):
        return ", ".join(_pair(str(key), one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.10g}"
    return str(value)


def _pair(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return f"{key} ({plain(value)})" if value else key
    return f"{key}={plain(value)}"


def seconds(value: float) -> str:
    """A duration."""
    if value < 1:
        return f"{1000 * value:.3g} ms"
    if value < 120:
        return f"{value:.3g} s"
    if value < 7_200:
        return f"{value / 60:.1f} min"
    return f"{value / 3_600:.1f} h"
