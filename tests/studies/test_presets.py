"""Protocols of papers beside the shared one."""

import pytest

from subshot.errors import OptionError
from subshot.proxies._proxy import PROXIES, Preset
from subshot.studies.targets import score_targets

CELL = "nasbench201:|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


def test_each_proxy_has_its_papers_protocol() -> None:
    """A proxy is scored on its own batch, with its own weights, and its name tells the paper's options."""
    scored = score_targets([CELL], proxies="swap,zico,vkdnw,parameters", preset="paper", batch_size=8)
    by_name = {name: one.protocol for one in scored for name in one.scores}
    assert set(by_name) == {"swap", "zico(parts=2)", "vkdnw(released=true)", "parameters"}
    assert (by_name["swap"].batch_size, by_name["swap"].initialisation, by_name["swap"].repeats) == (16, "normal", 32)
    assert by_name["zico(parts=2)"].batch_size == 256
    vkdnw = by_name["vkdnw(released=true)"]
    assert (vkdnw.batch_norm, vkdnw.initialisation, vkdnw.batch_size) == ("running", "kaiming", 64)
    assert "gaussian_noise" in vkdnw.data
    assert by_name["parameters"].batch_size == 8  # no paper: the shared protocol
    assert all(value.ok for one in scored for value in one.scores.values())


def test_given_options_win() -> None:
    """What is asked for by name is not replaced."""
    (scored,) = score_targets([CELL], proxies="zico(parts=2)", preset="paper")
    assert list(scored.scores) == ["zico(parts=2)"]
    (scored,) = score_targets([CELL], proxies="zen(variance=running)", preset="paper", batch_size=4)
    assert scored.protocol.batch_size == 64
    (scored,) = score_targets([CELL], proxies="zico(parts=4),zico(parts=2)", preset="paper")  # 4 is the usual default
    assert list(scored.scores) == ["zico", "zico(parts=2)"]
    assert scored.scores["zico"].value != scored.scores["zico(parts=2)"].value


def test_without_a_papers_protocol_the_given_settings_hold() -> None:
    """A proxy whose paper has none on record follows the arguments in full."""
    given = {"batch_size": 8, "bn_mode": "running", "unreal": "smooth_noise", "repeats": 2}
    (scored,) = score_targets([CELL], proxies="near,macs", preset="paper", **given)  # type: ignore[arg-type]
    protocol = scored.protocol
    assert (protocol.batch_size, protocol.batch_norm, protocol.repeats) == (8, "running", 2)
    assert protocol.data.startswith("smooth_noise")


def test_shared_is_one_protocol() -> None:
    """By default all proxies share a batch."""
    assert len(score_targets([CELL], proxies="swap,zico,nwot", batch_size=8)) == 1


def test_unknown_preset_is_refused() -> None:
    """Another word is named, with what is allowed."""
    with pytest.raises(OptionError, match="papers"):
        score_targets([CELL], preset="papers")


@pytest.mark.parametrize("name", PROXIES.names())
def test_presets_are_possible(name: str) -> None:
    """Every preset names options that the proxy has and modes that exist."""
    info = PROXIES.get(name)
    preset = info.preset
    assert isinstance(preset, Preset)
    assert set(preset.options) <= set(info.defaults)
    assert preset.initialisation in {"default", "normal", "kaiming"}
    assert preset.batch_norm in {"batch", "running", "off"}
    assert preset.unreal in {"none", "gaussian_noise"}
