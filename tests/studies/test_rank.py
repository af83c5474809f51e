"""Rankings of proxies against trained architectures."""

import csv
import math

import numpy as np
import pytest
from scipy import stats

import subshot
from subshot.benchmarks import ranking
from subshot.benchmarks.ranking import STATISTICS
from subshot.errors import DataError, OptionError, StudyError, UnknownNameError
from subshot.report.ranking import markdown
from subshot.spaces.nasbench201 import has_path
from subshot.studies import _evaluator
from subshot.studies._executors import SerialExecutor
from subshot.studies.targets import score_targets

SPACE = "nasbench201(channels=2,cells=1)"
CELLS = 24


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(ranking, "_RESAMPLES", 25)


@pytest.fixture(scope="session")
def cells():
    """Distinct cells, the last of which has no path from input to output."""
    space, rng = subshot.get_space(SPACE), np.random.default_rng(5)
    drawn = dict.fromkeys(space.sample(rng) for _ in range(200))
    good = [arch for arch in drawn if has_path(arch)][: CELLS - 1]
    return [space.format(arch) for arch in good] + ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"]


@pytest.fixture
def plain(tmp_path, cells):
    """A table with two targets and two runs of the first."""
    rng = np.random.default_rng(0)
    path = tmp_path / "plain.csv"
    first, second = rng.normal(90, 2, CELLS), rng.normal(size=CELLS)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "acc", "loss", "acc_1", "acc_2"])
        for row in zip(cells, first, second, first + rng.normal(size=CELLS), first, strict=True):
            writer.writerow(row)
    path.with_suffix(".toml").write_text(
        'space = "nasbench201"\n[targets.acc]\nunit = "%"\nseeds = ["acc_1", "acc_2"]\n'
        '[targets.loss]\ndirection = "minimize"\n'
    )
    return path


@pytest.fixture
def small(plain, images):
    return {"space": SPACE, "table": plain, "target": "acc", "data": images, "batch_size": 12, "again": 0}


def plainly(report):
    """A report without times."""
    values = report.to_dict()
    del values["seconds"], values["run"]
    scores = {name: [repr(value) for value in column.tolist()] for name, column in report.scores.items()}
    return values, scores, report.texts


def column(path, name):
    with path.open(newline="") as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def test_scores_are_those_of_the_networks_and_statistics_those_of_scipy(small, plain, cells, images):
    report = subshot.rank(**small, proxies="swap,l2_norm")
    assert [row.proxy for row in report.rows] == ["swap", "l2_norm", "parameters", "macs"]
    assert [row.kind for row in report.rows] == ["proxy", "proxy", "baseline", "baseline"]
    assert report.texts == tuple(cells)
    scored = score_targets(
        [f"{SPACE}:{cell}" for cell in cells], proxies="swap,l2_norm,parameters", data=images, batch_size=12
    )
    truth = column(plain, "acc")
    for name in ("swap", "l2_norm", "parameters"):
        values = np.array([one.scores[name].value for one in scored])
        np.testing.assert_array_equal(report.scores[name], values)
        finite = np.isfinite(values)
        assert finite.sum() == CELLS - 1
        found = report[name].ranking
        assert found.spearman.value == pytest.approx(stats.spearmanr(values[finite], truth[finite]).statistic)
        assert found.kendall.value == pytest.approx(stats.kendalltau(values[finite], truth[finite]).statistic)
    best = np.nanargmax(report.scores["l2_norm"])
    assert report["l2_norm"].ranking.top1.value == pytest.approx(truth[best])
    assert report.protocol == scored[0].protocol
    with pytest.raises(UnknownNameError, match=r"no ranked score named 'l2_nrm'.*Did you mean 'l2_norm'"):
        report["l2_nrm"]


def test_an_architecture_that_cannot_learn_is_counted(small):
    report = subshot.rank(**small)
    for row in report.rows:
        assert row.non_finite == 1
        ((reason, count),) = row.reasons.items()
        assert (reason.partition(":")[0], count) == ("not_applicable", 1)
        assert row.ranking.archs == CELLS - 1
    assert "no path leads" in markdown(report)


def test_written_scores_are_a_table_that_ranks_the_same(small, tmp_path):
    measured = subshot.rank(**small, proxies="swap,nwot", out=tmp_path / "run")
    stored = subshot.rank(
        SPACE, table=tmp_path / "run" / "scores.csv", target="acc", scores="swap,nwot,parameters,macs"
    )
    for name in ("swap", "nwot", "parameters", "macs"):
        assert stored[name].to_dict() == measured[name].to_dict()
        np.testing.assert_array_equal(stored.scores[name], measured.scores[name])
    assert [row.kind for row in stored.rows] == ["column"] * 4
    assert stored.protocol is None


def test_an_interrupted_ranking_continues_with_the_same_result(small, tmp_path):
    arguments = {**small, "proxies": "swap,snip", "again": 6}
    whole = subshot.rank(**arguments)
    assert whole.resumed == 0
    for stop in (1, 9, CELLS + 3):  # the last is amid the second seed

        def interrupt(state, stop=stop):
            if state.stage == "score" and state.done == stop:
                raise KeyboardInterrupt

        run = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            subshot.rank(**arguments, out=run, on_progress=interrupt)
        resumed = subshot.rank(**arguments, out=run)
        assert resumed.resumed == stop
        assert plainly(resumed) == plainly(whole)
    assert subshot.rank(**arguments, out=run).resumed == CELLS + 6
    fresh = subshot.rank(**arguments, out=run, fresh=True)
    assert fresh.resumed == 0
    assert (run / "study.db.old1").exists()


@pytest.mark.slow
def test_worker_processes_change_nothing(small):
    arguments = {**small, "proxies": "swap,zen", "archs": 8, "again": 3}
    assert plainly(subshot.rank(**arguments, workers=2)) == plainly(subshot.rank(**arguments))


def test_scores_serve_another_target_of_the_same_architectures(small, tmp_path):
    subshot.rank(**small, out=tmp_path / "run")
    other = subshot.rank(**{**small, "target": "loss"}, out=tmp_path / "run")
    assert other.resumed == CELLS
    assert plainly(other) == plainly(subshot.rank(**{**small, "target": "loss"}))
    for change in ({"archs": 20}, {"seed": 1}, {"proxies": "nwot"}, {"init": "normal"}):
        with pytest.raises(StudyError, match="belongs to another study"):
            subshot.rank(**{**small, **change}, out=tmp_path / "run")


def test_the_same_settings_have_the_same_folder(small, tmp_path):
    def folder(**changes):
        digests = []
        subshot.rank(
            **{**small, "archs": 3, **changes}, out=lambda digest: (digests.append(digest), tmp_path / digest)[1]
        )
        return digests[0]

    first = folder()
    assert folder(aggregates="vote", again=2, minimize=True) == first
    others = [folder(target="loss"), folder(seed=2), folder(archs=4), folder(proxies="nwot")]
    assert len({first, *others}) == 5


def test_low_values_are_good_where_the_table_says_so(small, plain):
    report = subshot.rank(**{**small, "target": "loss"})
    assert report.minimize
    loss, scores = column(plain, "loss"), report.scores["swap"]
    finite = np.isfinite(scores)
    found = report["swap"].ranking
    assert found.spearman.value == pytest.approx(-stats.spearmanr(scores[finite], loss[finite]).statistic)
    assert found.top1.value == pytest.approx(loss[np.nanargmax(scores)])
    assert found.top1.low <= found.top1.value <= found.top1.high
    ten = np.argsort(-scores[finite], kind="stable")[:10]
    assert found.top10_mean.value == pytest.approx(loss[finite][ten].mean())
    upside_down = subshot.rank(**{**small, "target": "loss"}, minimize=False)
    assert upside_down["swap"].ranking.spearman.value == pytest.approx(-found.spearman.value)
    assert "lower is better" in markdown(report)


def test_noise_ceilings(small, plain):
    report = subshot.rank(**{**small, "again": 10}, proxies="swap,plain")
    ceiling = report.truth_ceiling
    runs = [column(plain, name) for name in ("acc_1", "acc_2")]
    assert ceiling.spearman.value == pytest.approx(stats.spearmanr(*runs).statistic)
    assert ceiling.archs == CELLS
    other = subshot.rank(**{**small, "seed": 1}, proxies="swap,plain")
    for name in ("swap", "plain"):
        assert report[name].again.archs in (9, 10)  # the one without a path may be among them
    assert report["parameters"].again is None
    everything = subshot.rank(**{**small, "again": 500}, proxies="plain")
    assert everything.again == CELLS
    finite = np.isfinite(other.scores["plain"])
    expected = stats.spearmanr(report.scores["plain"][finite], other.scores["plain"][finite]).statistic
    assert everything["plain"].again.spearman.value == pytest.approx(expected)
    values = report.to_dict()["noise_ceiling"]
    assert set(values["proxies"]) == {"swap", "plain"}
    without = subshot.rank(**{**small, "target": "loss"}).to_dict()["noise_ceiling"]
    assert without == {"truth": None, "proxies": None}


def test_aggregates_combine_the_proxies_named(small):
    report = subshot.rank(**small, proxies="swap,nwot,snip", aggregates="vote,rank_sum")
    assert [row.proxy for row in report.rows][-2:] == ["vote", "rank_sum"]
    named = {name: report.scores[name] for name in ("swap", "nwot", "snip")}
    np.testing.assert_array_equal(report.scores["vote"], subshot.aggregate("vote", named).values)
    assert report["vote"].kind == "aggregate"
    assert report["vote"].non_finite == 1


def test_an_aggregate_brings_the_proxies_it_reads(small):
    report = subshot.rank(**{**small, "archs": 6}, proxies="swap", aggregates="az_nas")
    parts = ("az_expressivity", "az_progressivity", "az_trainability", "macs")
    assert {row.proxy for row in report.rows} == {"swap", "parameters", "az_nas", *parts}
    read = {name: report.scores[name] for name in parts}
    np.testing.assert_array_equal(report.scores["az_nas"], subshot.aggregate("az_nas", read).values)


def test_proxies_that_do_not_apply_have_no_statistics(small, images):
    report = subshot.rank(**{**small, "data": images[0]}, proxies="snip,swap")  # no labels
    row = report["snip"]
    assert (row.ranking, row.non_finite) == (None, CELLS)
    values = row.to_dict()
    assert all(values[name] is None and values[f"{name}_ci"] == [None, None] for name in STATISTICS)
    assert report["swap"].ranking is not None
    assert "Fewer than three finite scores: snip" in markdown(report)


def test_stored_scores_build_nothing(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(_evaluator.ProxyEvaluator, "evaluate", None)
    monkeypatch.setattr(SerialExecutor, "run", None)
    report = subshot.rank(
        table=plain, target="acc", scores=["loss", "acc_1"], aggregates="rank_sum", out=tmp_path / "run"
    )
    assert [row.proxy for row in report.rows] == ["loss", "acc_1", "parameters", "macs", "rank_sum"]
    assert not (tmp_path / "run" / "study.db").exists()
    space = subshot.get_space("nasbench201")
    sizes = [space.measure(space.parse(text)) for text in report.texts]
    assert report.scores["parameters"].tolist() == [size.parameters for size in sizes]
    assert report.scores["macs"].tolist() == [size.macs for size in sizes]
    np.testing.assert_array_equal(
        report.scores["rank_sum"],
        subshot.aggregate("rank_sum", {name: report.scores[name] for name in ("loss", "acc_1")}).values,
    )


def test_ties_are_stated(tmp_path, cells):
    path = tmp_path / "tied.csv"
    path.write_text("arch,acc,score\n" + "".join(f"{cell},{n // 2},{min(n, 3)}\n" for n, cell in enumerate(cells)))
    report = subshot.rank(SPACE, table=path, target="acc", scores="score")
    pairs = math.comb(CELLS, 2)
    assert report.truth_ties == pytest.approx(CELLS / 2 / pairs)
    assert report["score"].ties == pytest.approx(math.comb(CELLS - 3, 2) / pairs)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"proxies": "swap", "scores": "loss"}, OptionError, "both given"),
        ({"proxies": []}, OptionError, "No proxy was given"),
        ({"proxies": "swpa"}, UnknownNameError, "no proxy named 'swpa'"),
        ({"aggregates": "votes"}, UnknownNameError, "no aggregator named 'votes'"),
        ({"target": "accuracy"}, UnknownNameError, "named 'accuracy'"),
        ({"archs": 2}, DataError, "at least three"),
        ({"archs": 25}, OptionError, "has 24 to choose from"),
        ({"again": -1}, OptionError, "again=-1"),
        ({"init": "keep"}, OptionError, "'keep'"),
        ({"init": "zeros"}, OptionError, "initialisation 'zeros'"),
        ({"workers": 0}, OptionError, "0 workers"),
        ({"executor": "ray"}, OptionError, "executor 'ray'"),
        ({"variant": "wide"}, UnknownNameError, "variant of nasbench201"),
        ({"space": "darts"}, OptionError, "of the space nasbench201, and darts"),
    ],
)
def test_what_is_refused_leaves_no_trace(small, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        subshot.rank(**{**small, **changes}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"scores": "los"}, UnknownNameError, "named 'los'.*Did you mean 'loss'"),
        ({"scores": "loss", "aggregates": "az_nas"}, DataError, "az_nas reads"),
    ],
)
def test_what_is_refused_of_stored_scores_leaves_no_trace(plain, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        subshot.rank(SPACE, table=plain, target="acc", **changes, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_table_without_a_space_needs_one(plain):
    plain.with_suffix(".toml").unlink()
    with pytest.raises(OptionError, match="of which space"):
        subshot.rank(table=plain, target="acc")


PUBLISHED = {
    "nwot": 0.811,
    "jacov": 0.799,
    "params": 0.799,
    "synflow": 0.778,
    "epe_nas": 0.772,
    "flops": 0.770,
    "l2_norm": 0.746,
    "snip": 0.603,
    "grad_norm": 0.600,
    "fisher": 0.552,
    "grasp": 0.537,
    "zen": 0.115,
    "plain": -0.352,
}


@pytest.fixture
def tables(data_root, monkeypatch):
    monkeypatch.setenv("SUBSHOT_DATA", str(data_root))
    monkeypatch.setattr(ranking, "_RESAMPLES", 2)


def test_published_scores_rank_as_published(tables):
    report = subshot.rank(table="nasbench201_scores_cifar10", target="cifar10_test_200", scores=list(PUBLISHED))
    assert report.archs == 9445
    assert {name: round(report[name].ranking.spearman.value, 3) for name in PUBLISHED} == PUBLISHED
    # The table's own parameter counts are those of the networks that are built here.
    assert report["parameters"].ranking.spearman.value == pytest.approx(
        report["params"].ranking.spearman.value, abs=1e-9
    )


def test_the_noise_of_all_cells_is_as_published(tables):
    columns = ["cifar100_params_m", "cifar100_flops_m", "cifar10_valid_200"]
    report = subshot.rank(table="nasbench201", target="cifar10_test_200", scores=columns)
    assert report.archs == 15625
    found = {name: round(report[name].ranking.spearman.value, 3) for name in columns}
    assert found == {"cifar100_params_m": 0.752, "cifar100_flops_m": 0.752, "cifar10_valid_200": 0.980}
    assert round(report.truth_ceiling.spearman.value, 3) == 0.986
    assert report.truth_ceiling.archs == 13400
    assert report.to_dict()["protocol"]["unit"] == "%"
    assert "Licence: MIT" in markdown(report)
