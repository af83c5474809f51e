"""Networks of timm, where it is installed: any module can be scored, not only ours."""

import math

import pytest
import torch

from subshot.proxies._score import score

timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=Exception)

ALWAYS = [
    "parameters",
    "macs",
    "swap",
    "nwot",
    "grad_norm",
    "snip",
    "l2_norm",
    "zico",
    "sigeo",
    "grad_sign",
    "eigen_nas",
    "near",
]


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64}, 64),
        ("resnet18", {}, 32),
        ("mobilenetv3_small_050", {}, 32),
        ("convnext_atto", {}, 64),
    ],
)
def test_models_are_scored(name: str, options: dict[str, int], size: int) -> None:
    """The proxies that need nothing special have a finite value, and the size is the model's."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=4, **options)
    batch = torch.randn(8, 3, size, size), torch.arange(8) % 4
    scores = score(network, batch, proxies=ALWAYS)
    for proxy, value in scores.items():
        assert value.ok, (proxy, value.reason)
        assert math.isfinite(value.value), proxy
    assert scores["parameters"].value == sum(p.numel() for p in network.parameters())


def test_a_transformer_has_hidden_layers() -> None:
    """W-PCA finds the feed-forward networks of timm's blocks, convolutions have none."""
    torch.manual_seed(0)
    transformer = timm.create_model("vit_tiny_patch16_224", num_classes=4, img_size=64)
    images = torch.randn(8, 3, 64, 64)
    assert score(transformer, images, proxies="w_pca")["w_pca"].ok
    assert score(timm.create_model("resnet18"), images, proxies="w_pca")["w_pca"].status == "not_applicable"
