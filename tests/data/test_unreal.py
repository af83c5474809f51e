"""Batches that are not real."""

import numpy as np
import pytest

from subshot._types import Protocol
from subshot.data import UNREAL_KINDS, TakenBatch, digest, take_batch
from subshot.data._unreal import unreal
from subshot.errors import DataError, UnknownNameError

KINDS = [kind for kind in UNREAL_KINDS if kind != "none"]
MADE = [kind for kind in KINDS if kind != "random_labels"]


def colours(count: int = 32, size: tuple[int, int] = (16, 20), *, classes: int = 10) -> TakenBatch:
    """A batch whose channels have different means and deviations."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 3, *size)) * [[[1]], [[2]], [[0.3]]] + [[[0]], [[5]], [[-1]]]
    return take_batch((images.astype(np.float32), np.arange(count) % classes), count)


def grey(count: int = 24) -> TakenBatch:
    return take_batch("digits", count)


def neighbours(images: np.ndarray) -> float:
    """Correlation of pixels with their right neighbours, inside images whose means are taken off."""
    centred = images - images.mean(axis=(2, 3), keepdims=True)
    return float((centred[..., 1:] * centred[..., :-1]).mean() / (centred**2).mean())


def nearest_neighbour_accuracy(images: np.ndarray, labels: np.ndarray) -> float:
    """How often an image has the label of the other image that is most like it."""
    flat = images.reshape(len(images), -1)
    distance = ((flat[:, None] - flat) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return float((labels[distance.argmin(axis=1)] == labels).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_same_form_other_content(kind: str) -> None:
    for real in (colours(), grey()):
        made = unreal(real, kind, seed=0)
        assert (made.inputs.shape, made.inputs.dtype) == (real.inputs.shape, np.float32)
        assert np.isfinite(made.inputs).all()
        assert made.labels is not None
        assert made.labels.shape == (len(real.inputs),)
        assert made.labels.dtype == np.int64
        assert 0 <= made.labels.min() <= made.labels.max() < real.task.outputs == made.task.outputs
        assert (made.name, made.samples) == (f"{kind}({real.name})", real.samples)
        assert made.digest == digest(made.inputs, made.labels) != real.digest
        assert (made.labels != real.labels).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind: str) -> None:
    real = colours()
    before = digest(real.inputs, real.labels)
    first, again, other = (unreal(real, kind, seed=seed) for seed in (3, 3, 4))
    assert first.digest == again.digest != other.digest
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert digest(real.inputs, real.labels) == before
    assert len({unreal(real, one, seed=3).digest for one in KINDS}) == len(KINDS)


def test_none_is_the_real_batch() -> None:
    real = colours()
    assert unreal(real, "none", seed=0) is real
    assert take_batch("digits", 12).digest == take_batch("digits", 12, unreal="none").digest


@pytest.mark.parametrize("kind", MADE)
def test_mean_and_deviation_of_each_channel_are_the_real_ones(kind: str) -> None:
    real = colours()
    made = unreal(real, kind, seed=0).inputs
    for statistic in (np.mean, np.std):
        np.testing.assert_allclose(
            statistic(made.astype(np.float64), axis=(0, 2, 3)),
            statistic(real.inputs.astype(np.float64), axis=(0, 2, 3)),
            atol=1e-5,
        )
    # Channels that differ in the real batch are drawn apart, up to a drawing's common shape.
    assert abs(np.corrcoef(made[:, 0].ravel(), made[:, 1].ravel())[0, 1]) < (0.95 if kind == "generated" else 0.2)


@pytest.mark.parametrize("kind", MADE)
def test_grey_stays_grey(kind: str) -> None:
    made = unreal(grey(), kind, seed=0).inputs
    np.testing.assert_array_equal(made[:, 0], made[:, 1])
    np.testing.assert_array_equal(made[:, 0], made[:, 2])


def test_random_labels_keep_the_images() -> None:
    real = colours()
    made = unreal(real, "random_labels", seed=0)
    np.testing.assert_array_equal(made.inputs, real.inputs)


def test_a_random_label_belongs_to_its_image() -> None:
    images = colours(64).inputs
    labels = np.zeros(64, np.int64)
    labels[0] = 9

    def drawn(order: np.ndarray, seed: int = 0) -> np.ndarray:
        made = unreal(
            take_batch((images[order], labels[np.arange(len(order))]), len(order)), "random_labels", seed=seed
        )
        assert made.labels is not None
        return made.labels

    everything = np.arange(64)
    whole = drawn(everything)
    shuffled = np.random.default_rng(1).permutation(64)
    np.testing.assert_array_equal(drawn(shuffled), whole[shuffled])
    np.testing.assert_array_equal(drawn(everything[:7]), whole[:7])
    assert (drawn(everything, seed=1) != whole).any()


def test_random_labels_are_uniform_and_know_nothing_of_the_real_ones() -> None:
    real = colours(2_000, (2, 2))
    labels = unreal(real, "random_labels", seed=0).labels
    assert labels is not None
    assert real.labels is not None
    counts = np.bincount(labels, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # chi-square of 9 degrees: once in a thousand seeds
    assert (labels == real.labels).mean() == pytest.approx(0.1, abs=0.03)


def test_gaussian_noise_has_a_normal_distribution_and_no_structure() -> None:
    images = unreal(colours(64), "gaussian_noise", seed=0).inputs
    green = (images[:, 1] - images[:, 1].mean()) / images[:, 1].std()
    assert (np.abs(green) < 1).mean() == pytest.approx(0.683, abs=0.01)
    assert (np.abs(green) < 2).mean() == pytest.approx(0.954, abs=0.006)
    assert abs(neighbours(images)) < 0.07  # minus one pixel's share for the mean that is taken off
    assert np.var(images[:, 1].mean(axis=(1, 2))) < 0.1  # an image's brightness is the mean of 320 pixels


@pytest.mark.parametrize("size", [(64, 64), (48, 33)])
def test_smooth_noise_has_the_spectrum_of_natural_images(size: tuple[int, int]) -> None:
    images = unreal(colours(64, size), "smooth_noise", seed=0).inputs[:, 0]
    assert neighbours(images[:, None]) > 0.6
    # Mean amplitude of waves of about 2 ... 1/3 of the image, from its transform.
    amplitude = np.abs(np.fft.fft2(images)).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
    rings = np.geomspace(2 / min(size), 0.5, 8)
    which = np.digitize(frequency, rings)
    means = [(frequency[which == ring].mean(), amplitude[which == ring].mean()) for ring in range(1, 8)]
    slope = np.polyfit(*np.log(means).T, 1)[0]
    assert slope == pytest.approx(-1, abs=0.05)


def test_neighbouring_pixels_are_related_where_they_should_be() -> None:
    real = grey()
    related = {kind: neighbours(unreal(real, kind, seed=0).inputs) for kind in MADE}
    assert related["gaussian_noise"] < 0.1 < 0.6 < min(related["smooth_noise"], related["generated"])


@pytest.mark.parametrize("seed", range(3))
def test_generated_images_show_their_class_and_noise_does_not(seed: int) -> None:
    for real in (colours(200, (32, 32)), grey(200)):
        accuracy = {}
        for kind in MADE:
            made = unreal(real, kind, seed=seed)
            assert made.labels is not None
            accuracy[kind] = nearest_neighbour_accuracy(made.inputs, made.labels)
        assert accuracy["generated"] > 0.6
        assert accuracy["gaussian_noise"] < 0.25
        assert accuracy["smooth_noise"] < 0.25


def test_generated_images_of_a_class_differ() -> None:
    made = unreal(colours(40, classes=2), "generated", seed=0)
    assert len(np.unique(made.inputs.reshape(40, -1), axis=0)) == 40


def test_a_class_looks_the_same_in_any_batch() -> None:
    # The template belongs to seed and class: the nearest neighbour in another batch of the seed tells the class.
    few, many = (unreal(colours(count, (32, 32)), "generated", seed=0) for count in (100, 150))
    assert few.labels is not None
    assert many.labels is not None
    distance = ((few.inputs[:, None] - many.inputs[None, 100:]) ** 2).sum(axis=(2, 3, 4))
    assert (many.labels[100:][distance.argmin(axis=1)] == few.labels).mean() > 0.5


def test_unlabelled_batches_get_labels() -> None:
    images = colours().inputs
    for kind in KINDS:
        made = take_batch(images, 16, unreal=kind)
        assert made.labels is not None
        assert made.task.loss == "cross_entropy"
        assert made.labels.max() < made.task.outputs == 10
    assert take_batch(images, 16).task.loss == "none"


def test_other_inputs_have_random_labels_only() -> None:
    tokens = take_batch((np.arange(48).reshape(4, 12), np.arange(4)), 4)
    features = take_batch((np.ones((4, 5), np.float32), np.arange(4)), 4)
    for real in (tokens, features):
        np.testing.assert_array_equal(unreal(real, "random_labels", seed=0).inputs, real.inputs)
        for kind in MADE:
            with pytest.raises(DataError, match=rf"and {kind} stands for images, \(S, C, H, W\). For other inputs"):
                unreal(real, kind, seed=0)


@pytest.mark.parametrize("kind", MADE)
def test_degenerate_batches_stay_finite(kind: str) -> None:
    flat = take_batch((np.full((2, 3, 4, 4), 0.5, np.float32), np.arange(2)), 2)
    np.testing.assert_array_equal(unreal(flat, kind, seed=0).inputs, flat.inputs)  # no deviation to give
    pixel = take_batch((np.ones((1, 1, 1, 1), np.float32), np.array([1])), 1)
    assert np.isfinite(unreal(pixel, kind, seed=0).inputs).all()


def test_unknown_kinds_are_refused_before_anything_is_read() -> None:
    message = (
        r"There is no kind of unreal data named 'gausian_noise'. Did you mean 'gaussian_noise' or 'smooth_noise'\? "
        r"Known: gaussian_noise, generated, none, random_labels, smooth_noise."
    )
    with pytest.raises(UnknownNameError, match=message):
        unreal(colours(), "gausian_noise", seed=0)
    with pytest.raises(UnknownNameError, match=message):
        take_batch("no such data", 16, unreal="gausian_noise")


def test_a_study_says_what_it_saw() -> None:
    from subshot.studies.study import search

    settings = {"space": "nasbench201(channels=2,cells=1)", "data": "digits", "strategy": "random", "batch_size": 12}
    proxies = "swap,jacob_cov,grad_norm"
    plain, none, labels, noise = (
        search(**settings, proxy=proxies, budget=4, **more)
        for more in ({}, {"unreal": "none"}, {"unreal": "random_labels"}, {"unreal": "gaussian_noise"})
    )
    # Without the option nothing changes: old runs keep their settings and continue.
    assert plain.settings == none.settings
    assert Protocol.from_dict(plain.settings["protocol"]) == plain.protocol
    assert plain.protocol.data == "digits"
    assert labels.protocol.data == "random_labels(digits)"
    assert noise.protocol.data == "gaussian_noise(digits)"
    assert len({study.protocol.data_digest for study in (plain, labels, noise)}) == 3

    def values(study: object, proxy: str) -> list[float]:
        return [row.scores[proxy].value for row in study.rows]  # type: ignore[attr-defined]

    assert [row.arch for row in plain.rows] == [row.arch for row in labels.rows] == [row.arch for row in noise.rows]
    # Random labels change what reads labels and nothing else; noise changes all.
    for proxy in ("swap", "jacob_cov"):
        np.testing.assert_array_equal(values(labels, proxy), values(plain, proxy))
    assert values(labels, "grad_norm") != values(plain, "grad_norm")
    assert values(noise, "swap") != values(plain, "swap")
