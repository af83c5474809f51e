"""``subshot data`` of one set or path, and commands on data that is no set of classified images."""

import json

import numpy as np
import pytest
from PIL import Image

KEYS = {
    "name", "format", "holds", "samples", "task", "outputs", "classes", "imbalance", "values", "shapes", "files",
    "damaged", "ignored", "vocabulary", "parts", "own_parts", "seed", "split_file", "digest", "licence", "notes",
    "warnings",
}  # fmt: skip
TEXT = (
    'flexibert:{"hidden_size":128,"nas_config":{"encoder_layers":[{"operation_type":"SA","operation_parameter":"SDP",'
    '"num_operation_heads":2,"feed_forward_dimension":512,"num_feed_forward":1},{"operation_type":"LT",'
    '"operation_parameter":"DFT","num_operation_heads":2,"feed_forward_dimension":512,"num_feed_forward":1}]}}'
)


def fill(folder, **counts):
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            suffix = ".png" if number % 2 else ".bmp"
            pixels = rng.integers(0, 256, (8 + number % 2, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}{suffix}")


def test_a_folder(run, folder):
    fill(folder / "pets", cat=45, dog=4)
    (folder / "pets" / "dog" / "1.png").write_text("no picture")
    (folder / "pets" / "dog" / "notes.txt").write_text("")
    done = run("data", "pets", "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json["data"]
    assert set(found) == KEYS
    assert (found["name"], found["format"], found["holds"]) == ("pets", "image_folder", "images")
    assert (found["samples"], found["task"], found["outputs"]) == (49, "classification", 2)
    assert (found["classes"], found["imbalance"]) == ({"cat": 45, "dog": 4}, 11.25)
    assert found["shapes"] == [{"shape": [8, 9], "samples": 25}, {"shape": [9, 9], "samples": 23}]
    assert (found["files"], found["ignored"]) == ({".bmp": 25, ".png": 24}, 1)
    assert found["damaged"] == [{"name": "dog/1.png", "reason": "it is no image"}]
    assert found["parts"] == {"train": 34, "validation": 5, "test": 10}
    assert [text.partition(":")[0] for text in found["warnings"]] == [
        "1 of 49 images can't be decoded; replace or remove them",
        "the classes are imbalanced, 11 to 1",
    ]
    shown = run("data", "pets").out
    for text in ("pets: 49 images, read as image_folder", "dog/1.png: it is no image", "imbalanced, 11 to 1", "91.8%"):
        assert text in shown


def test_the_parts_are_kept(run, folder):
    fill(folder / "pets", cat=9, dog=9)
    made = run("data", "pets", "--out", "kept", "--seed", "7", "--json").json["data"]
    assert made["split_file"] == "kept/split.json"
    stored = json.loads((folder / "kept" / "split.json").read_text())
    assert (stored["seed"], stored["sizes"]) == (7, made["parts"])
    again = run("data", "pets", "--out", "kept", "--json").json["data"]
    assert again == made
    assert (
        "by seed 7: train 12, validation 2, test 4, kept in kept/split.json" in run("data", "pets", "--out", "kept").out
    )
    other = run("data", "pets", "--out", "kept", "--seed", "8", "--json")
    assert (other.code, other.json["error"]["message"]) == (2, "kept/split.json has seed 7, and 8 was asked for.")
    (folder / "pets" / "cat" / "0.bmp").unlink()
    changed = run("data", "pets", "--out", "kept", "--json")
    assert changed.code == 2
    assert "it is other data, or has changed" in changed.json["error"]["message"]


def test_other_data(run, folder):
    np.savez(folder / "text.npz", x=np.arange(60).reshape(12, 5), y=np.linspace(-1, 1, 12), vocabulary=64)
    found = run("data", "text.npz", "--json").json["data"]
    assert (found["holds"], found["vocabulary"], found["task"]) == ("tokens", 64, "regression")
    assert (found["classes"], found["values"]) == (None, [{"min": -1, "mean": pytest.approx(0, abs=1e-6), "max": 1}])
    assert "12 sequences of tokens, read as npz" in run("data", "text.npz").out
    digits = run("data", "digits", "--json").json["data"]
    assert (digits["format"], digits["samples"], digits["warnings"]) == ("set", 1797, [])


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (lambda folder: fill(folder / "one", cat=3), "one", "The image folder one has a single class, 'cat'."),
        (lambda folder: (folder / "empty").mkdir(), "empty", "The image folder empty is empty"),
        (lambda folder: (folder / "a.txt").touch(), "a.txt", "a.txt is no image data that subshot can read."),
        (lambda folder: None, "cifar01", "There is no data set named 'cifar01', and no file or folder of that name."),
    ],
)
def test_bad_input(run, folder, make, name, expected):
    make(folder)
    done = run("data", name, "--json")
    assert done.code == 2
    assert done.json["error"]["message"].startswith(expected)


def test_out_without_a_name(run):
    done = run("data", "--out", "kept", "--json")
    assert (done.code, "name it" in done.json["error"]["message"]) == (2, True)


def test_a_space_of_tokens_is_scored_on_tokens(run, folder):
    made = run("score", TEXT, "--data", "zipf_tokens", "--batch-size", "4", "--proxy", "grad_norm,parameters", "--json")
    assert made.code == 0
    (one,) = made.json["scores"]
    assert one["proxies"]["grad_norm"]["status"] == "ok"
    assert (one["protocol"]["data"], one["protocol"]["input_shape"]) == ("zipf_tokens", [128])
    np.savez(folder / "text.npz", x=np.arange(96).reshape(8, 12), y=np.arange(8) % 2, vocabulary=30_522)
    own = run("score", TEXT, "--data", "text.npz", "--batch-size", "4", "--proxy", "grad_norm", "--json").json
    assert own["scores"][0]["proxies"]["grad_norm"]["status"] == "ok"


def test_a_network_for_numbers_is_scored_with_their_loss(run, folder):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    np.savez(folder / "values.npz", x=pixels, y=np.linspace(0, 3, 24).reshape(12, 2))
    (folder / "net.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(4, 2))\n"
    )
    done = run("score", "net.py:net", "--data", "values.npz", "--batch-size", "12", "--proxy", "loss,swap", "--json")
    scores = done.json["scores"][0]["proxies"]
    assert scores["swap"]["status"] == "ok"
    assert -20 < scores["loss"]["value"] < 0
