"""``subshot warm-up``: its contract, and that other commands take what it leaves."""

import numpy as np
import pytest

SPACE = "nasbench201(channels=2,cells=1)"


@pytest.fixture(scope="module")
def more(tmp_path_factory):
    """A file of a hundred images, eighty of them to train on."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "more.npz"
    np.savez(path, x=rng.integers(0, 256, size=(100, 8, 8, 3), dtype=np.uint8), y=np.arange(100) % 4)
    return path


@pytest.fixture
def warm(npz):
    return ["warm-up", "--space", SPACE, "--data", npz, "--batch-size", 4]


def test_the_contract(run, warm, quick, folder):
    done = run(*warm, "--share", 0.5, "--out", "net.safetensors", "--json")
    assert done.code == 0
    values = done.json
    assert values["checkpoint"] == "net.safetensors"
    assert (values["samples"], values["steps"]) == (8, 2)
    assert values["macs"] > 0
    assert values["seconds"] > 0
    assert values["loss"] > 0
    assert sorted(path.name for path in folder.iterdir()) == ["net.safetensors"]
    again = run(*warm, "--share", 0.5, "--out", "net.safetensors", "--json").json
    assert again == values  # read back
    found = run(*quick, "--weights", "net.safetensors", "--batch-size", 8, "--json").json
    assert found["protocol"]["weights"] == f"warm:{values['digest']}"
    scored = run("score", f"{SPACE}:{found['best']['arch']}", "--data", warm[4], "--batch-size", 8, "--proxy", "swap",
                 "--weights", "net.safetensors", "--json").json  # fmt: skip
    assert scored["scores"][0]["proxies"]["swap"]["value"] == found["best"]["score"]


def test_another_warm_up_is_not_read_from_the_file(run, warm):
    assert run(*warm, "--share", 0.5, "--out", "net.safetensors").code == 0
    for change in (["--share", 0.25], ["--share", 0.5, "--seed", 1], ["--share", 0.5, "--lr", 0.5]):
        done = run(*warm, *change, "--out", "net.safetensors")
        assert done.code == 2
        assert "another warm-up; they differ in" in " ".join(done.err.split())


def test_equal_settings_have_the_same_file(run, warm, folder):
    first = run(*warm, "--passed", 8, "--json").json
    assert first["checkpoint"].startswith("supernets/")
    assert run(*warm, "--passed", 8, "--json").json["checkpoint"] == first["checkpoint"]
    other = run(*warm, "--passed", 8, "--sampler", "strictly_fair", "--json").json
    assert other["checkpoint"] != first["checkpoint"]
    assert other["passes"] == 5 * first["passes"]


def test_a_search_with_its_own_warm_up_says_what_it_cost(run, quick, more, npz):
    refused = run(*quick, "--warm-up", 4, "--batch-size", 8)
    assert refused.code == 2
    assert "Use smaller batches" in refused.err
    done = run(*(more if one is npz else one for one in quick), "--warm-up", 0.8, "--batch-size", 8)
    assert done.code == 0
    assert "Warm-up: 64 samples along 1 paths" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "takes --share or --passed"),
        (["--share", 0.5, "--passed", 8], "takes --share or --passed"),
        (["--share", 0.1], "less than one batch of 4"),
        (["--share", 0.5, "--sampler", "fair"], "no path sampler"),
        (["--share", 0.5, "--optimiser", "lion"], "optimiser was given as 'lion'"),
        (["--share", 0.5, "--device", "nope"], "device 'nope' can't be used"),
        (["--share", 0.5, "--space", "nasbench101"], "has no supernet"),
    ],
)
def test_bad_input(run, warm, folder, arguments, message):
    done = run(*warm, *arguments)
    assert done.code == 2
    assert message in " ".join(done.err.split())
    assert not list(folder.rglob("*.safetensors"))
