"""``--unreal``: the same command on a batch that isn't real."""

import pytest

CELL = "nasbench201:|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def test_score(run, npz):
    arguments = ["score", CELL, "--data", npz, "--proxy", "swap,snip,parameters", "--json"]
    real, *others = [
        run(*arguments, *more).json
        for more in ([], *(["--unreal", kind] for kind in ("none", "random_labels", "smooth_noise", "generated")))
    ]

    def values(found):
        return {name: score["value"] for name, score in found["scores"][0]["proxies"].items()}

    none, labels, noise, generated = others
    assert none["protocol"] == real["protocol"]
    assert values(none) == values(real)
    assert labels["protocol"]["data"] == "random_labels(images.npz)"
    assert values(labels)["swap"] == values(real)["swap"]  # which reads no labels
    assert values(labels)["snip"] != values(real)["snip"]
    for other in (noise, generated):
        assert values(other)["swap"] != values(real)["swap"]
        assert values(other)["parameters"] == values(real)["parameters"]
    assert len({found["protocol"]["data_digest"] for found in (real, labels, noise, generated)}) == 4


def test_the_protocol_for_people_names_it(run, npz):
    done = run("score", CELL, "--data", npz, "--proxy", "swap", "--unreal", "gaussian_noise")
    assert done.code == 0
    assert "Protocol: narrow (cells=5, channels=2); gaussian_noise(images.npz) 3x16x16" in done.out


@pytest.mark.parametrize("command", ["search", "score"])
def test_help_names_the_option(run, command):
    shown = run(command, "--help").out
    assert "--unreal" in shown


def test_search_is_another_run(run, quick, folder):
    real, same, noise = (
        run(*quick, "--json", *more).json for more in ([], ["--unreal", "none"], ["--unreal", "smooth_noise"])
    )
    assert real["run"] == same["run"] != noise["run"]
    assert noise["protocol"]["data"] == "smooth_noise(images.npz)"
    assert len(list((folder / "runs").iterdir())) == 2
