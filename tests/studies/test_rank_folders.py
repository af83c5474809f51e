"""One folder, several questions: scores are shared, and no result overwrites another."""

import json
import math

import numpy as np
import pytest

import subshot
from subshot.benchmarks import ranking
from subshot.errors import OptionError, StudyError
from subshot.report.ranking import markdown, write_report
from subshot.studies._ranked import RESULTS

SPACE = "nasbench201(channels=2,cells=1)"
CELLS = 8


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(ranking, "_RESAMPLES", 5)


@pytest.fixture
def table(tmp_path):
    space, rng = subshot.get_space(SPACE), np.random.default_rng(1)
    drawn = [*dict.fromkeys(space.sample(rng) for _ in range(30))]
    cells = [space.format(arch) for arch in drawn if space.defect(arch) is None][:CELLS]
    path = tmp_path / "mine.csv"
    path.write_text(
        "arch,acc,luck,one,two\n" + "".join(f"{cell},{n},{-n},{n},{n ^ 1}\n" for n, cell in enumerate(cells))
    )
    path.with_suffix(".toml").write_text('[targets.acc]\nseeds = ["one", "two"]\n')
    return path


@pytest.fixture
def measured(table, images):
    return {"space": SPACE, "table": table, "target": "acc", "data": images, "batch_size": 12, "again": 0}


@pytest.fixture
def stored(table):
    return {"space": SPACE, "table": table, "target": "acc", "scores": "luck"}


QUESTIONS = [
    {"minimize": True},
    {"aggregates": "vote"},
    {"within": "params>=0"},
    {"bands": "params:2"},
    {"again": 3},
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: next(iter(question)))
def test_another_question_of_the_same_scores_is_kept_apart(question, measured, tmp_path):
    def folder(digest):
        return tmp_path / digest

    first = subshot.rank(**measured, out=folder)
    write_report(first)
    there = {name: (first.run / name).read_bytes() for name in ("scores.csv", "rank.json", "report.md")}
    assert subshot.rank(**measured, out=folder).set_aside == ()
    second = subshot.rank(**{**measured, **question}, out=folder)
    assert second.run == first.run
    assert second.resumed == CELLS, "scores are shared"
    assert second.set_aside == tuple(f"{name}.old1" for name in there)
    told = json.loads((second.run / "rank.json").read_text())
    assert told == json.loads(json.dumps(second.to_dict()))
    kept = json.loads((second.run / "rank.json.old1").read_text())
    assert {**kept, "seconds": 0} == {**json.loads(there["rank.json"]), "seconds": 0}
    assert (second.run / "scores.csv.old1").read_bytes() == there["scores.csv"]
    assert (second.run / "report.md.old1").read_bytes() == there["report.md"]
    third = subshot.rank(**measured, out=folder)
    assert third.set_aside == ("scores.csv.old2", "rank.json.old2")


@pytest.mark.parametrize("question", QUESTIONS[:4], ids=lambda question: next(iter(question)))
def test_the_same_of_stored_scores(question, stored, tmp_path):
    first = subshot.rank(**stored, out=tmp_path / "run")
    second = subshot.rank(**{**stored, **question}, out=tmp_path / "run")
    assert (first.set_aside, second.set_aside) == ((), ("scores.csv.old1", "rank.json.old1"))
    assert json.loads((tmp_path / "run" / "rank.json.old1").read_text()) == json.loads(json.dumps(first.to_dict()))


def test_files_that_are_no_result_of_ours_are_kept_too(stored, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name, text in (("scores.csv", "mine"), ("rank.json", "{"), ("report.html", "<p>")):
        (run / name).write_text(text)
    report = subshot.rank(**stored, out=run)
    assert report.set_aside == ("scores.csv.old1", "rank.json.old1", "report.html.old1")
    assert (run / "scores.csv.old1").read_text() == "mine"


def test_fresh_moves_the_result_aside_with_the_scores(measured, stored, tmp_path):
    for arguments, files in ((measured, {"study.db", *RESULTS[:2]}), (stored, {*RESULTS[:2]})):
        run = tmp_path / f"run{len(files)}"
        subshot.rank(**arguments, out=run)
        report = subshot.rank(**arguments, out=run, fresh=True)
        assert report.set_aside == ()
        assert {path.name for path in run.iterdir()} == files | {f"{name}.old1" for name in files}


def test_stored_scores_keep_off_the_folder_of_a_study(measured, stored, tmp_path):
    run = tmp_path / "run"
    subshot.rank(**measured, out=run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(StudyError, match=r"run holds the scores of another run, study\.db.*--fresh"):
        subshot.rank(**stored, out=run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    subshot.rank(**stored, out=run, fresh=True)
    assert {name: (run / f"{name}.old1").read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "digits"),
        ("batch_size", 8),
        ("samples", "first"),
        ("unreal", "gaussian_noise"),
        ("image_size", (8, 8)),
        ("repeats", 2),
        ("init", "normal"),
        ("bn_mode", "off"),
        ("weights", "supernet.safetensors"),
        ("again", 3),
        ("device", "cuda"),
        ("workers", 2),
        ("executor", "serial"),
    ],
)
def test_stored_scores_take_no_settings_of_the_look(name, value, stored, tmp_path):
    with pytest.raises(OptionError, match=f"and {name} too, which would have no effect"):
        subshot.rank(**stored, **{name: value}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensors_are_no_data_of_stored_scores(stored, images):
    with pytest.raises(OptionError, match=r"data, batch_size too, which would have no effect.*Leave them out"):
        subshot.rank(**stored, data=images, batch_size=12)


def test_agreement_of_seeds_is_called_what_it_is(stored, table):
    report = subshot.rank(**stored)
    agreement = report.truth_ceiling.spearman.value
    assert 0 < agreement < 1
    text = markdown(report)
    assert "ceiling" not in text.lower()
    assert "- Agreement of two training seeds: Spearman " in text
    assert (
        f"about the square root, Spearman {math.sqrt(agreement):.3f}, against one run, and more against a mean" in text
    )
    turned = [line.split(",") for line in table.read_text().splitlines()]
    lines = [turned[0], *([*row[:3], row[1], row[2]] for row in turned[1:])]  # the two runs are each other's reverse
    table.write_text("\n".join(map(",".join, lines)))
    assert "these true values tell nothing" in markdown(subshot.rank(**stored))
    table.with_suffix(".toml").unlink()
    assert "Agreement of two training seeds: unknown" in markdown(subshot.rank(**stored))
