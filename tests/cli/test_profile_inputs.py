"""``subshot profile`` of spaces whose input is no single image."""

import subshot


def test_tiles_of_an_image(run):
    space = "transnas_micro(head=jigsaw)"
    own = run("profile", "--space", space, "--json").json
    assert (own["measured"], own["exact"]) == (4096, True)
    tiny = run("profile", "--space", space, "--image-size", 32, "--classes", 24, "--json").json
    # Nine tiles' maps of 512 channels go into the linear layer.
    assert own["params"]["min"] - tiny["params"]["min"] == (1000 - 24) * (9 * 512 + 1)
    assert own["macs"]["min"] - (9 * 512) * 1000 == 4 * (tiny["macs"]["min"] - (9 * 512) * 24)
    shown = run("profile", "--space", space)
    assert (shown.code, shown.err) == (0, "")
    assert "input (9, 3, 64, 64), 1000 classes" in " ".join(shown.out.split())


def test_an_image_size_needs_images(run):
    tokens = [name for name in subshot.list_spaces() if len(subshot.get_space(name).task.inputs[0].shape) == 1]
    for name in tokens:
        done = run("profile", "--space", name, "--image-size", 32)
        assert done.code == 2
        assert "Leave --image-size out" in " ".join(done.err.split())
        assert run("profile", "--space", name, "--variant", subshot.get_space(name).variants[0]).code == 0
