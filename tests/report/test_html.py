"""The page as a text: whole, self-contained, true to the run, and closed to names that would like to be markup."""

import base64
import csv
import hashlib
import json
import re
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from subshot._types import Score
from subshot.errors import MissingDependencyError, StudyError
from subshot.report import html
from subshot.report._beside import front_volume, own_model
from subshot.report._page import PAGES
from subshot.report._words import seconds
from subshot.report.pages import rank as rank_page
from subshot.report.pages import search as search_page
from subshot.report.pages import train as train_page
from subshot.report.pages._ranking import read_ranked
from subshot.report.terminal import explain, magnitude
from subshot.studies._reading import read_study
from subshot.studies._result import Found
from subshot.training._tensors import read_tensors, write_tensors

VOID = {"meta", "wbr", "br", "link", "img", "input"}
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>&amp;\"'<b>|_`${7*7}%{x}"


class Reader(HTMLParser):
    """Checks that every element is closed, and gathers texts, attributes, scripts and table cells."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.texts, self.scripts, self.tables, self.tags = [], [], [], [], [], Counter()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "script":
            self.scripts.append([dict(attrs), ""])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.scripts[-1][1] += data
        elif inside != "style":
            self.texts.append(data)
            if {"td", "th"} & set(self.open):
                self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def data(self, end):
        """Of the figure whose name ends so."""
        (found,) = [text for attributes, text in self.scripts if attributes.get("id", "").endswith(f"-{end}-data")]
        return json.loads(found, parse_constant=lambda constant: pytest.fail(f"{constant} in JSON"))


def told(run):
    """The page of a run folder."""
    return Reader(html.write_html(run).read_text(encoding="utf-8"))


def test_the_page_loads_nothing_and_runs_only_its_own_scripts(search_run):
    page = told(search_run)
    for _, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcset", "action", "data", "poster")
        if name == "href":
            assert value.startswith("#")
    (policy,) = [
        value for tag, name, value in page.attributes if tag == "meta" and (value or "").startswith("default-src")
    ]
    run = [text for attributes, text in page.scripts if "type" not in attributes]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert len(run) == 2
    assert "default-src 'none'" in policy
    assert page.tags["link"] == page.tags["img"] == page.tags["iframe"] == 0
    targets = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for _, name, value in page.attributes if name == "href"} <= targets
    assert len(targets) == len([1 for _, name, _ in page.attributes if name == "id"])


def test_most_of_the_file_is_plotly(search_run):
    from plotly.offline import get_plotlyjs

    size = html.write_html(search_run).stat().st_size
    assert 0 < size - len(get_plotlyjs().encode()) < 200_000


def test_a_search_is_told_as_it_was(search_run):
    page, study = told(search_run), read_study(search_run)
    assert study.status == "done"
    assert "Search of nasbench201(cells=1, channels=2)" in page.text
    assert "at most 20 k parameters" in page.text
    assert study.best.arch in page.text
    assert f"{study.best.score.value:,.6g}" in page.text
    front, top, *_ = page.tables
    assert front[0] == ["rank", "swap", "parameters", "MACs", "architecture"]
    assert [row[4] for row in front[1:]] == [found.arch for found in study.front]
    assert [row[2] for row in front[1:]] == [magnitude(found.costs["params"]) for found in study.front]
    assert [row[4] for row in top[1:]] == [found.arch for found in study.top(20)]
    assert study.protocol.data_digest in page.text


def test_the_figures_of_a_search_hold_every_candidate(search_run):
    page, study = told(search_run), read_study(search_run)
    data = page.data("front")
    scored = {row.arch: row for row in study.rows if row.same_as is None and row.scores["swap"].ok}
    assert data["columns"]["architecture"] == list(scored)
    assert data["columns"]["params"] == [row.costs["params"] for row in scored.values()]
    assert data["columns"]["score"] == pytest.approx([row.scores["swap"].value for row in scored.values()], rel=1e-6)
    traces = {trace["name"]: trace for trace in data["views"][0]["traces"]}
    shown = data["columns"]["architecture"]
    assert [shown[row] for row in traces["best"]["rows"]] == [study.best.arch]
    unbeaten = traces["unbeaten in score, parameters and MACs"]["rows"]
    assert {shown[row] for row in unbeaten} == {found.arch for found in study.front}
    assert data["views"][0]["marks"] == [{"axis": "x", "value": 20_000.0, "label": "limit"}]
    assert {data["columns"]["architecture"][row] for row in data["drawn"]} == {found.arch for found in study.front}
    progress = page.data("progress")
    line = progress["views"][0]["traces"][1]["rows"]
    best = [progress["columns"]["score"][row] for row in line]
    assert best[:-1] == sorted(set(best))
    assert best[-1] == best[-2] == pytest.approx(study.best.score.value, rel=1e-6)
    assert progress["columns"]["evaluation"][line[-1]] == study.evaluations


def test_failures_are_counted_by_reason(search_run):
    page, study = told(search_run), read_study(search_run)
    assert study.failed > 0
    failures = next(rows for rows in page.tables if rows[0] == ["architectures", "status", "reason"])
    assert sum(int(row[0]) for row in failures[1:]) == study.failed
    assert "no path leads" in failures[1][2]


def test_a_killed_search_is_told_as_interrupted(search_run, tmp_path):
    (tmp_path / "study.db").write_bytes((search_run / "study.db").read_bytes())
    study, whole = read_study(tmp_path), read_study(search_run)
    assert (study.status, whole.status) == ("interrupted", "done")
    assert replace(study, status="done", run=None, seconds=0) == replace(whole, run=None, seconds=0)
    assert "It was interrupted" in told(tmp_path).text


def test_what_an_older_result_told_is_not_believed(search_run, tmp_path):
    for name in ("study.db", "best.json"):
        (tmp_path / name).write_bytes((search_run / name).read_bytes())
    values = json.loads((tmp_path / "best.json").read_text())
    (tmp_path / "best.json").write_text(json.dumps(values | {"evaluations": 7}))
    assert read_study(tmp_path).status == "interrupted"


def test_the_statistics_stand_in_the_table(rank_run):
    page, values = told(rank_run), json.loads((rank_run / "rank.json").read_text())
    table = page.tables[0]
    rows = {row["proxy"]: row for row in values["rows"]}
    shown = {re.sub("(baseline|aggregate)$", "", row[0]): row for row in table[1:]}
    assert set(shown) == set(rows) == {"swap", "plain", "parameters", "macs", "vote"}
    for name, row in rows.items():
        low, high = row["spearman_ci"]
        assert shown[name][1] == f"{row['spearman']:.3f}[{low:.3f}, {high:.3f}]".replace("-0.000", "0.000")
        assert shown[name][table[0].index("no score")] == str(row["non_finite"])
    order = [rows[name]["spearman"] for name in shown]
    assert order == sorted(order, reverse=True)
    assert shown["macs"][0] == "macsbaseline"
    assert "aggregate" in shown["vote"][0]
    marked = [value for tag, name, value in page.attributes if (tag, name) == ("tr", "class")]
    assert marked[:2] == ["marked", "marked"]


def test_missing_scores_have_their_reasons(rank_run):
    page, values = told(rank_run), json.loads((rank_run / "rank.json").read_text())
    missing = next(rows for rows in page.tables if rows[0] == ["score", "architectures", "reason"])
    counts = Counter()
    for name, count, _ in missing[1:]:
        counts[name] += int(count)
    expected = {row["proxy"]: row["non_finite"] for row in values["rows"] if row["non_finite"]}
    assert expected
    assert counts == expected
    assert any("no path leads" in reason for _, _, reason in missing[1:])


def test_bands_have_a_column_each(rank_run):
    page, values = told(rank_run), json.loads((rank_run / "rank.json").read_text())
    agreement, firsts = [rows for rows in page.tables if rows[0][1].startswith("params ")]
    assert len(agreement[0]) == 1 + len(values["bands"])
    band = values["bands"][0]
    assert f"({band['archs']})" in agreement[0][1]
    swap = next(row for row in band["rows"] if row["proxy"] == "swap")
    assert next(row for row in agreement if row[0] == "swap")[1].startswith(f"{swap['spearman']:.3f}")
    assert firsts[1][:2] == ["best there is", f"{band['best']:#.4g}"]
    words = " ".join(row[1] for row in firsts[3:])
    assert words.count("worse than random") == sum(row["worse_than_random"] for row in band["rows"])


def test_the_cloud_is_the_order_of_the_scores(rank_run):
    data = told(rank_run).data("cloud")
    with (rank_run / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert data["columns"]["architecture"] == [row["arch"] for row in rows]
    assert data["columns"]["true value"] == pytest.approx([float(row["acc"]) for row in rows], rel=1e-6)
    scores = [float(row["swap"] or "nan") for row in rows]
    finite = [value for value in scores if value == value]
    for value, below in zip(scores, data["columns"]["below: swap"], strict=True):
        if value != value:
            assert below is None
            continue
        lower, tied = sum(other < value for other in finite), sum(other == value for other in finite)
        assert below == pytest.approx(100 * (lower + (tied - 1) / 2) / (len(finite) - 1), rel=1e-4)
    view = next(view for view in data["views"] if "swap" in view["x"]["title"])
    first = [scores[row] for row in view["traces"][1]["rows"]]
    assert first == sorted(finite, reverse=True)[:10]
    assert data["views"][0]["y"]["span"][0] > 10  # the two broken networks don't flatten the rest


def test_each_target_has_a_chapter(stored_run):
    page = told(stored_run)
    titles = ["Ranking against acc of cells.csv", "Ranking against error of cells.csv"]
    for title in titles:
        assert title in page.text
    assert page.tags["h1"] == 2
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    one, two = read_ranked(stored_run)
    assert (one.told["protocol"]["target"], two.told["protocol"]["target"]) == ("acc", "error")
    assert one.truth + two.truth == pytest.approx(100.0)
    assert one.looked is None


def test_hostile_names_are_only_text_in_a_search(search_run):
    study = read_study(search_run)
    odd = {"swap": Score.of(1e9, warnings=(HOSTILE,), parts={HOSTILE: 1.0}), HOSTILE: Score.failed(HOSTILE)}
    worst = {"swap": Score.failed(HOSTILE)}
    rows = (
        replace(study.rows[0], arch=HOSTILE, scores=odd),
        *study.rows[1:],
        replace(study.rows[0], trial=10_000, arch=f"{HOSTILE}2", scores=worst),
    )
    best = Found(HOSTILE, odd["swap"], rows[0].costs)
    settings = {**study.settings, "space": HOSTILE, "strategy": HOSTILE}
    hostile = replace(study, rows=rows, best=best, front=(best, *study.front), settings=settings, explanation=HOSTILE)
    check_hostile(html.document([search_page.chapter(hostile)]))


def test_hostile_names_are_only_text_in_a_ranking(rank_run):
    (ranked,) = read_ranked(rank_run)
    text = json.dumps(ranked.told).replace('"swap"', json.dumps(HOSTILE)).replace('"acc"', json.dumps(HOSTILE))
    told = json.loads(text)
    for key in ("space", "table", "population", "metric", "unit", "split"):
        told["protocol"][key] = HOSTILE
    scores = {name.replace("swap", HOSTILE): values for name, values in ranked.scores.items()}
    archs = tuple(f"{HOSTILE}{arch}" for arch in ranked.archs)
    hostile = replace(ranked, told=told, scores=scores, archs=archs, reasons={HOSTILE: {HOSTILE: 3}})
    check_hostile(html.document([rank_page.chapter(hostile)]))


def check_hostile(text):
    page, plain = Reader(text), Reader(html.document([search_page.Chapter("plain", html.NOTHING, ())]))
    assert page.tags["img"] == page.tags["b"] == 0
    run = [text for attributes, text in page.scripts if "type" not in attributes]
    assert run == [text for attributes, text in plain.scripts if "type" not in attributes]
    assert HOSTILE in "".join(page.texts)
    for attributes, text in page.scripts:
        if attributes.get("type") == "application/json":
            assert "<" not in text
            json.loads(text)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def told_file(path):
    """The page of a supernet's file."""
    return Reader(html.write_html(path).read_text(encoding="utf-8"))


def test_a_warm_up_is_told_beside_one_shot_training(warm_up_done):
    path, done = warm_up_done
    page = told_file(path)
    assert path.with_suffix(".html").is_file()
    assert "Warm-up of nasbench201(cells=1, channels=2)" in page.text
    assert f"12 steps on 96 samples, 240 % of the data, in {seconds(done.seconds)}" in page.text
    assert f"warm:{done.digest}" in page.text
    (table,) = page.tables
    assert table[0] == ["training", "times as much", "time", "MACs forward", "samples", "paths"]
    # Forty images are there, of which 96 passed.
    assert [row[0] for row in table[1:]] == ["this warm-up", "one-shot, 1 pass", "one-shot, 50 passes"]
    assert [row[1] for row in table[1:]] == ["1", "0.417", "20.8"]
    assert [row[3] for row in table[1:]] == [magnitude(done.macs * share / 96) for share in (96, 40, 2000)]
    assert [row[4:] for row in table[1:]] == [["96", "12"], ["40", "5"], ["2,000", "250"]]
    data = page.data("loss")
    assert data["columns"]["step"] == list(range(1, 13))
    assert data["columns"]["loss"] == pytest.approx(done.losses, rel=1e-5)
    assert data["columns"]["smooth"] == pytest.approx(done.losses, rel=1e-5)  # a tenth of twelve is one


def test_a_folder_of_supernets_has_a_chapter_each(warm_up_done, tmp_path):
    path, _ = warm_up_done
    for name in ("one", "two"):
        (tmp_path / f"{name}.safetensors").write_bytes(path.read_bytes())
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    page = told(tmp_path)
    assert page.tags["h1"] == 2
    assert (tmp_path / "report.html").is_file()


def test_a_supernet_of_an_older_version_has_no_curve(warm_up_done, tmp_path):
    tensors, header = read_tensors(warm_up_done[0])
    del header["curve"]
    write_tensors(tmp_path / "old.safetensors", tensors, header)
    page = told_file(tmp_path / "old.safetensors")
    assert "older version" in page.text
    assert page.tags["figure"] == 0


def test_a_file_that_is_no_warm_up_is_refused(warm_up_done, tmp_path):
    tensors, header = read_tensors(warm_up_done[0])
    for name, change in (("weights", {"kind": "network"}), ("fresh", {"warm_up": None})):
        write_tensors(tmp_path / f"{name}.safetensors", tensors, {**header, **change})
        with pytest.raises(StudyError, match="holds no finished run"):
            html.write_html(tmp_path / f"{name}.safetensors")
    write_tensors(tmp_path / "damaged.safetensors", tensors, {**header, "warm_up": {"settings": {}}})
    with pytest.raises(StudyError, match="can't be told"):
        html.write_html(tmp_path / "damaged.safetensors")


def test_a_search_with_learnt_weights_says_what_they_cost(warmed_run, warm_up_done):
    page = told(warmed_run)
    table = next(rows for rows in page.tables if rows[0][0] == "training")
    assert table[1][4] == "96"
    assert "unbeaten in swap and MACs" in json.dumps(page.data("front")["views"][0]["traces"])


def test_the_hypervolume_is_the_share_of_points_that_are_dominated(warmed_run):
    study = read_study(warmed_run)
    volume = front_volume(study)
    rows = [row for row in study.rows if row.scores["swap"].ok]
    values = np.array([[row.scores["swap"].value, -row.costs["macs"]] for row in rows])
    low, high = values.min(axis=0), values.max(axis=0)
    points = np.random.default_rng(0).uniform(low, high, size=(40_000, 2))
    covered = (points[:, None] <= values[None]).all(axis=2).any(axis=1).mean()
    assert volume.share == pytest.approx(covered, abs=0.01)
    assert volume.reference == {"swap": low[0], "-macs": low[1]}
    line = next(line for line in explain(study) if "hypervolume" in line)
    assert f"hypervolume is {volume.share:.3f}" in line
    assert f"the reference is the worst: swap {low[0]:,.6g}, {magnitude(-low[1])} MACs." in line


def test_a_search_of_one_objective_has_no_hypervolume(search_run):
    study = read_study(search_run)
    assert front_volume(study) is None
    assert own_model(study) is None
    assert "your own model" not in told(search_run).text


def test_the_own_model_stands_beside_the_best(own_run):
    page, study = told(own_run), read_study(own_run)
    assert study.rows[0].arch == "unchanged"
    own, place = study.rows[0], [found.arch for found in study.top(20)].index("unchanged") + 1
    table = next(rows for rows in page.tables if rows[0][0] == "network")
    assert [row[0] for row in table[1:]] == ["the best", "your own model"]
    assert table[1][1:4] == [
        f"{study.best.score.value:,.6g}",
        *(magnitude(study.best.costs[name]) for name in ("params", "macs")),
    ]
    assert table[2][1:] == [
        f"{own.scores['nwot'].value:,.6g}",
        *(magnitude(own.costs[name]) for name in ("params", "macs")),
        str(place),
        "unchanged",
    ]
    data = page.data("front")
    trace = next(trace for trace in data["views"][0]["traces"] if trace["name"] == "your own model")
    assert [data["columns"]["architecture"][row] for row in trace["rows"]] == ["unchanged"]


def test_an_own_model_without_a_score_says_so(own_run):
    study = read_study(own_run)
    rows = (replace(study.rows[0], scores={"nwot": Score.failed("odd")}), *study.rows[1:])
    best = study.best if study.best.arch != "unchanged" else study.top(2)[1]
    page = Reader(html.document([search_page.chapter(replace(study, rows=rows, best=best))]))
    table = next(rows for rows in page.tables if rows[0][0] == "network")
    assert table[2][1] == "failed"
    assert table[2][4] == "-"
    assert "unchanged, is without a score: failed" in page.text


def test_a_training_is_told_as_it_was(train_run):
    page, values = told(train_run), json.loads((train_run / "train.json").read_text())
    _, _, winner, baseline = values["networks"]
    full, trials = page.tables
    assert [row[0] for row in full[1:]] == ["winner", "baseline"]
    assert [row[2] for row in full[1:]] == [f"{one['test']:.4g}" for one in (winner, baseline)]
    assert [row[0] for row in trials[1:]] == ["trial", "trial"]
    assert f"Accuracy {values['value']:.4g} on the test part, after 3 epochs." in page.text
    data = page.data("training")
    assert data["columns"]["network"] == ["winner"] * 3 + ["baseline"] * 3
    assert data["columns"]["metric"] == pytest.approx(winner["validation"] + baseline["validation"], rel=1e-6)
    assert data["columns"]["trained"] == pytest.approx(winner["losses"] + baseline["losses"], rel=1e-6)


def test_several_baselines_have_a_line_each(train_run):
    values = json.loads((train_run / "train.json").read_text())
    values["networks"].append(values["networks"][-1])
    data = Reader(html.document([train_page.chapter(values)])).data("training")
    assert [trace["name"] for trace in data["views"][0]["traces"]] == ["winner", "baseline", "baseline 2"]


def test_odd_bytes_of_a_name_become_question_marks():
    chapter = search_page.Chapter("run \udcff", html.NOTHING, ())
    assert "run ?" in Reader(html.document([chapter])).text


def test_without_plotly_the_error_says_what_to_install(search_run, monkeypatch, tmp_path):
    assert html.plotly_is_there()
    (tmp_path / "study.db").write_bytes((search_run / "study.db").read_bytes())
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependencyError, match=r"plotly can't be imported.*pip install 'subshot\[report\]'"):
        html.write_html(tmp_path)
    assert not (tmp_path / "report.html").exists()
    assert not html.plotly_is_there()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"holds no finished run\. .*search, warm-up, rank"):
        html.write_html(tmp_path)
    with pytest.raises(StudyError, match="There is no folder"):
        html.write_html(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rank.json", "{", "can't be read"),
        ("rank.json", "[]", "can't be read"),
        ("rank.json", "{}", "can't be read"),
        ("scores.csv", "", "can't be read"),
        ("scores.csv", "arch,acc\nx,1\n", "different runs"),
        ("scores.csv", "arch,acc,swap,plain,parameters,macs,vote\nx,1,1,1,1,1,1\n", "different architectures"),
    ],
)
def test_a_damaged_ranking_is_refused(rank_run, tmp_path, name, content, message):
    for file in ("rank.json", "scores.csv"):
        (tmp_path / file).write_bytes((rank_run / file).read_bytes())
    (tmp_path / name).write_text(content)
    with pytest.raises(StudyError, match=message):
        html.write_html(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be looked at" * 40])
def test_a_damaged_study_is_refused(tmp_path, content):
    (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(StudyError, match=r"damaged or no study"):
        html.write_html(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_every_kind_of_run_is_registered_by_its_file():
    folder = Path(search_page.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    assert {PAGES.get(name).chapters.__module__.rpartition(".")[2] for name in PAGES} == files
