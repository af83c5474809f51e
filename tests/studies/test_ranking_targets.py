"""Rankings against several targets and inside limits: one look at each network, and what a report needs of it."""

import csv
import gzip

import numpy as np
import pytest

import subshot
from subshot.benchmarks import ranking
from subshot.benchmarks.limits import Limit
from subshot.errors import DataError, OptionError, UnknownNameError
from subshot.report.ranking import markdown
from subshot.studies import _evaluator

SPACE = "nasbench201(channels=2,cells=1)"
DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(ranking, "_RESAMPLES", 25)


@pytest.fixture
def table(tmp_path):
    """Fifteen cells, one of them dead, with two targets, a latency of some, and a loss that one lacks."""
    space, rng = subshot.get_space(SPACE), np.random.default_rng(1)
    drawn = [*dict.fromkeys(space.format(space.sample(rng)) for _ in range(40))]
    cells = [cell for cell in drawn if space.defect(space.parse(cell)) is None][:14]
    cells.append(DEAD)
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "acc", "loss", "latency_ms"])
        for number, cell in enumerate(cells):
            writer.writerow([cell, 80 + number, "" if number == 4 else f"{1 / (2 + number):.4f}", number % 5 or ""])
    path.with_suffix(".toml").write_text('[targets.acc]\nunit = "%"\n[targets.loss]\ndirection = "minimize"\n')
    return path


@pytest.fixture
def small(table, images):
    return {"space": SPACE, "table": table, "data": images, "batch_size": 12, "again": 0, "proxies": "swap,snip"}


def test_each_network_is_looked_at_once(small, monkeypatch):
    looks = []
    one = _evaluator.ProxyEvaluator._one

    def counted(self, arch, batch):
        looks.append(arch)
        return one(self, arch, batch)

    monkeypatch.setattr(_evaluator.ProxyEvaluator, "_one", counted)
    report = subshot.rank(**small, target=["acc", "loss"])
    assert len(looks) == len(set(looks)) == 14
    assert list(report.targets) == ["acc", "loss"]
    assert report.targets["acc"] is report
    (loss,) = report.others
    assert loss.texts == report.texts
    assert loss.scores is report.scores
    assert (report.minimize, loss.minimize) == (False, True)
    # Without the row that lacks a loss, the one order is the reverse of the other: the same correlation.
    assert loss["swap"].ranking.spearman.value == pytest.approx(report["swap"].ranking.spearman.value)
    assert "rows without a value of every target" in markdown(report)


def test_a_target_among_several_is_as_alone(small, tmp_path):
    both = subshot.rank(**small, target=["acc", "loss"], bands="params:2", out=tmp_path / "both")
    archs = tmp_path / "archs.txt"
    archs.write_text("\n".join(both.texts))
    for name, found in both.targets.items():
        alone = subshot.rank(**small, target=name, archs=archs, bands="params:2")
        assert [row.to_dict() for row in alone.rows] == [row.to_dict() for row in found.rows]
        assert alone.to_dict()["bands"] == both.to_dict()["targets"][name]["bands"]
    assert subshot.rank(**small, target="all", out=tmp_path / "both").resumed == 14


def test_written_scores_of_several_targets_are_a_table(small, tmp_path):
    report = subshot.rank(**small, target=["acc", "loss"], out=tmp_path / "run")
    again = subshot.rank(SPACE, table=tmp_path / "run" / "scores.csv", target=["acc", "loss"], scores="swap,snip")
    assert again["swap"].to_dict() == report["swap"].to_dict()


def test_those_without_a_score_are_counted_left_out_and_put_last(small):
    report = subshot.rank(**small, target="acc")
    row = report["swap"]
    assert row.non_finite == 1
    finite = np.isfinite(report.scores["swap"])
    last = np.where(finite, report.scores["swap"], -1.0)
    assert row.ranking.spearman.value == pytest.approx(ranking.spearman(last[finite], report.truth[finite]))
    assert row.ranking.spearman_all.value == pytest.approx(ranking.spearman(last, report.truth))
    values = row.to_dict()
    assert values["spearman_all"] == row.ranking.spearman_all.value
    assert len(values["spearman_all_ci"]) == 2
    assert values["ties"] == row.ties
    assert "with those tied for the last place: swap" in markdown(report)


def test_limits_of_costs_and_columns(small, table):
    report = subshot.rank(
        **small, target="acc", within=["latency_ms<=2", Limit("params", low=0)], bands=["latency_ms:2", "macs:3"]
    )
    latency = np.array([float(number % 5 or "nan") for number in range(15)])
    column, everything, *parts = report.bands
    inside = latency <= 2
    assert (column.archs, column.best) == (inside.sum(), report.truth[inside].max())
    assert everything.archs == 15
    whole = {row.score: row for row in everything.rows}
    for row in report.rows:
        assert whole[row.proxy].spearman == row.ranking.spearman
        assert whole[row.proxy].top1 == row.ranking.top1.value
        assert whole[row.proxy].top10_mean == row.ranking.top10_mean.value
    assert sum(part.archs for part in parts[:2]) == np.isfinite(latency).sum()
    assert sum(part.archs for part in parts[2:]) == 15
    assert 14 not in whole["swap"].picks  # the dead one has no score
    text = markdown(report)
    assert "Inside latency_ms <= 2" in text
    assert text.count("| swap |") == 1 + len(report.bands)


def test_costs_are_of_the_network_that_is_trained(table):
    space = subshot.get_space("nasbench201(channels=16,cells=1)")
    report = subshot.rank(space, table=table, target="acc", scores="latency_ms", variant="narrow", within="params<=1M")
    archs = [space.parse(text) for text in report.texts]
    scored, trained = (
        [space.measure(arch, variant=one).parameters for arch in archs] for one in ("narrow", "official")
    )
    assert max(scored) < max(trained)
    assert report.scores["parameters"].tolist() == scored
    (band,) = subshot.rank(
        space, table=table, target="acc", scores="latency_ms", variant="narrow", bands="params:2"
    ).bands[1:]
    assert band.limit.high == max(trained)


def test_limits_change_no_score(small, tmp_path):
    plain = subshot.rank(**small, target="acc", out=lambda digest: tmp_path / digest)
    bands = subshot.rank(**small, target="acc", bands="params:2", out=lambda digest: tmp_path / digest)
    assert bands.run == plain.run
    assert bands.resumed == 15
    assert [row.to_dict() for row in bands.rows] == [row.to_dict() for row in plain.rows]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"within": "params"}, OptionError, "'params' is no limit"),
        ({"within": "latency<=2"}, UnknownNameError, "named 'latency'.*Did you mean 'latency_ms'"),
        ({"within": "latency_ms<=0"}, OptionError, "they go from 1 to 4"),
        ({"bands": "params:1"}, OptionError, "asks for no bands"),
        ({"bands": "nothing:3"}, UnknownNameError, "named 'nothing'"),
        ({"target": ["acc", "arch"]}, OptionError, "holds the architectures"),
        ({"target": ["acc", "los"]}, UnknownNameError, "Did you mean 'loss'"),
        ({"archs": 15}, OptionError, "has 14 to choose from"),
    ],
)
def test_what_is_refused_leaves_no_trace(small, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        subshot.rank(**{**small, "target": ["acc", "loss"], **changes}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_networks_of_another_kind_are_mentioned(tmp_path, images):
    space, rng = subshot.get_space("transnas_micro"), np.random.default_rng(0)
    cells = [space.format(space.sample(rng)) for _ in range(4)]
    home = tmp_path / "transnas-bench-101"
    home.mkdir()
    rows = "".join(f"{cell},{number},{number},{number},{number}\n" for number, cell in enumerate(cells))
    header = "arch,class_scene_val,class_object_val,segmentsemantic_val,autoencoder_val\n"
    (home / "tnb101_micro.csv.gz").write_bytes(gzip.compress(f"{header}{rows}".encode()))
    settings = {"table": "transnas_micro", "target": "all", "data": images, "batch_size": 4, "again": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBSHOT_DATA", str(tmp_path))
        plain = subshot.rank(**settings, proxies="swap,snip")
        decoder = subshot.rank("transnas_micro(head=autoencoder)", **settings, proxies="swap,snip")
    chapters = [chapter for chapter in markdown(plain).split("# transnas_micro: ") if chapter]
    mentioned = ["head=autoencoder" in chapter for chapter in chapters]
    assert mentioned == [False, False, False, True]
    assert "--space 'transnas_micro(head=segmentsemantic)' scores the former" in chapters[2]
    assert plain["snip"].ranking is not None or plain["snip"].non_finite < 4
    # A decoder has no classes: what needs labels says so, and the rest is scored.
    assert decoder["snip"].non_finite == 4
    assert all(reason.startswith("not_applicable") for reason in decoder["snip"].reasons)
    assert decoder["swap"].non_finite < 4


def test_a_target_that_all_share_is_needed(small, table):
    text = table.read_text().splitlines()
    swapped = [
        text[0],
        *(f"{line.split(',')[0]},{n if n % 2 else ''},{'' if n % 2 else n},1" for n, line in enumerate(text[1:])),
    ]
    table.write_text("\n".join(swapped))
    with pytest.raises(DataError, match="no values in the same rows"):
        subshot.rank(**small, target="acc,loss")
