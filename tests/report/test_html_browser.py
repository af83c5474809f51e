"""The page in a real browser: no errors, nothing asked of a network, and what a pointer, a finger and a printer do."""

import json
import re
from dataclasses import replace

import pytest

from subshot._types import Score
from subshot.report import html
from subshot.report.pages import search as search_page
from subshot.studies._reading import read_study
from subshot.studies._result import Found

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1><b>bold</b>"


@pytest.fixture(scope="module")
def search_page_file(search_run):
    return html.write_html(search_run)


@pytest.fixture(scope="module")
def rank_page_file(rank_run):
    return html.write_html(rank_run)


@pytest.fixture(scope="module")
def train_page_file(train_run):
    return html.write_html(train_run)


@pytest.fixture(scope="module")
def warm_up_page_file(warm_up_done):
    return html.write_html(warm_up_done[0])


@pytest.fixture(scope="module")
def own_page_file(own_run):
    return html.write_html(own_run)


def place_of(browser, figure, trace, point):
    """Where in the window a point of a figure is."""
    return browser.run(
        f"""(() => {{
            const plot = document.querySelector("#{figure} .plot");
            plot.scrollIntoView({{block: "center", behavior: "instant"}});
            const box = plot.getBoundingClientRect(), found = plot.data[{trace}], layout = plot._fullLayout;
            return [
                box.left + layout.xaxis._offset + layout.xaxis.d2p(found.x[{point}]),
                box.top + layout.yaxis._offset + layout.yaxis.d2p(found.y[{point}]),
            ];
        }})()"""
    )


def text(browser, selector):
    return browser.run(f"document.querySelector({json.dumps(selector)})?.textContent")


@pytest.mark.parametrize("phone", [False, True])
@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("search_page_file", 2),
        ("rank_page_file", 2),
        ("train_page_file", 1),
        ("warm_up_page_file", 1),
        ("own_page_file", 2),
    ],
)
def test_it_opens_without_errors_and_asks_for_nothing(request, browser, page, least, phone):
    path = request.getfixturevalue(page)
    browser.open(path, width=390 if phone else 1200, height=844, phone=phone)
    assert browser.errors == []
    assert browser.requests == [path.resolve().as_uri()]
    figures = browser.run("document.querySelectorAll('.chart').length")
    assert figures >= least
    assert browser.run("document.querySelectorAll('.chart .plot .main-svg .scatterlayer').length") == figures
    # Nothing is wider than the screen but tables, which scroll in their own frame.
    assert browser.run("document.documentElement.scrollWidth") == (390 if phone else 1200)
    widest = browser.run("Math.max(...[...document.querySelectorAll('.plot svg')].map(one => one.clientWidth))")
    assert widest <= (390 if phone else 1200)
    if not phone:
        browser.call("Emulation.setDeviceMetricsOverride", width=500, height=900, deviceScaleFactor=1, mobile=False)
        browser.run("new Promise(done => setTimeout(done, 500))")
        assert browser.run("document.querySelector('.plot svg').clientWidth") <= 500


def test_the_browser_would_tell_of_errors(browser, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(
        "<!DOCTYPE html><title>x</title><img src='missing.png'><script>console.error('one'); nothing()</script>"
    )
    browser.open(path)
    assert any("one" in error for error in browser.errors)
    assert any("nothing is not defined" in error for error in browser.errors)
    assert any("missing.png" in address for address in browser.requests)


def test_hovering_and_clicking_show_an_architecture(browser, search_page_file, search_run):
    study = read_study(search_run)
    browser.open(search_page_file)
    figure = "figure-0-front"
    assert browser.run(f"document.querySelector('#{figure} .detail').hidden") is True
    names = browser.run(f"document.querySelector('#{figure} .plot').data.map(one => one.name)")
    where = place_of(browser, figure, names.index("best"), 0)
    browser.hover(*where)
    label = text(browser, f"#{figure} .hoverlayer")
    assert study.best.arch in label.replace("\n", "")
    assert f"{study.best.costs['params']:,}" in label
    browser.click(*where)
    detail = f"#{figure} .detail"
    assert browser.run(f"document.querySelector('{detail}').hidden") is False
    assert text(browser, f"{detail} code") == study.best.arch
    assert browser.run(f"document.querySelectorAll('{detail} svg rect').length") == 4
    assert f"{study.best.costs['macs']:,}" in text(browser, f"{detail} dl")
    assert browser.errors == []


def test_training_curves_say_their_values(browser, train_page_file, train_run):
    networks = json.loads((train_run / "train.json").read_text())["networks"]
    winner, baseline = [one for one in networks if one["role"] != "trial"]
    browser.open(train_page_file)
    figure = "figure-0-training"
    browser.hover(*place_of(browser, figure, 1, 2))
    label = text(browser, f"#{figure} .hoverlayer")
    assert label.startswith("baseline")
    assert "epoch: 3" in label
    assert f"accuracy: {baseline['validation'][2]:.6g}" in label
    browser.run(
        f"""(() => {{
            const choice = document.querySelector("#{figure} select");
            choice.value = "1";
            choice.dispatchEvent(new Event("change"));
        }})()"""
    )
    browser.settle()
    lines = browser.run(
        f"document.querySelector('#{figure} .plot').data.map(one => [one.name, one.line.dash, [...one.y]])"
    )
    assert [line[:2] for line in lines] == [
        ["winner, validation", "solid"],
        ["winner, training", "dot"],
        ["baseline, validation", "solid"],
        ["baseline, training", "dot"],
    ]
    assert lines[1][2] == pytest.approx(winner["losses"], rel=1e-6)
    assert browser.run("document.querySelectorAll('.beside svg rect').length") == 4
    assert browser.errors == []


def test_the_loss_of_a_warm_up_says_its_step(browser, warm_up_page_file, warm_up_done):
    browser.open(warm_up_page_file)
    figure = "figure-0-loss"
    browser.hover(*place_of(browser, figure, 0, 6))
    label = text(browser, f"#{figure} .hoverlayer")
    assert label.startswith("7")
    assert f"training loss: {warm_up_done[1].losses[6]:.6g}" in label
    assert browser.errors == []


def test_the_own_model_can_be_looked_at(browser, own_page_file, own_run):
    study = read_study(own_run)
    browser.open(own_page_file)
    figure = "figure-0-front"
    names = browser.run(f"document.querySelector('#{figure} .plot').data.map(one => one.name)")
    browser.click(*place_of(browser, figure, names.index("your own model"), 0))
    assert text(browser, f"#{figure} .detail code") == "unchanged"
    assert f"{study.rows[0].costs['params']:,}" in text(browser, f"#{figure} .detail dl")
    assert browser.run(f"document.querySelectorAll('#{figure} .detail svg rect').length") >= 3
    assert browser.errors == []


def test_a_choice_redraws_the_figure(browser, rank_page_file, rank_run):
    values = {row["proxy"]: row for row in json.loads((rank_run / "rank.json").read_text())["rows"]}
    browser.open(rank_page_file)
    figure = "figure-0-cloud"
    options = browser.run(f"[...document.querySelectorAll('#{figure} option')].map(one => one.textContent)")
    assert set(options) == set(values)
    title = f"#{figure} .xtitle"
    assert text(browser, title) == f"architectures that {options[0]} puts below, %"
    browser.run(
        f"""(() => {{
            const choice = document.querySelector("#{figure} select");
            choice.value = "{options.index("plain")}";
            choice.dispatchEvent(new Event("change"));
        }})()"""
    )
    browser.settle()
    assert text(browser, title) == "architectures that plain puts below, %"
    assert browser.errors == []


def test_the_forest_names_and_orders_the_scores(browser, rank_page_file, rank_run):
    values = json.loads((rank_run / "rank.json").read_text())["rows"]
    browser.open(rank_page_file)
    names = browser.run(
        "[...document.querySelectorAll('#figure-0-agreement .ytick text')]"
        ".map(one => [one.getBoundingClientRect().top, one.textContent]).sort((a, b) => a[0] - b[0]).map(one => one[1])"
    )
    assert names == [row["proxy"] for row in sorted(values, key=lambda row: -row["spearman"])]
    where = place_of(browser, "figure-0-agreement", 0, 0)
    browser.hover(*where)
    label = text(browser, "#figure-0-agreement .hoverlayer")
    assert label.startswith("swap")
    assert "Spearman low" in label
    assert "Kendall" not in label


def test_a_click_on_a_head_sorts(browser, rank_page_file):
    browser.open(rank_page_file)

    def column(number):
        cells = f"[...document.querySelectorAll('table.sortable')[0].tBodies[0].rows].map(row => row.cells[{number}]"
        return browser.run(f"{cells}.childNodes[0].textContent)")

    def click(number):
        browser.run(
            f"document.querySelectorAll('table.sortable')[0].tHead.rows[0].cells[{number}].querySelector('button').click()"
        )
        return browser.run(
            f"document.querySelectorAll('table.sortable')[0].tHead.rows[0].cells[{number}].getAttribute('aria-sort')"
        )

    assert click(2) == "descending"
    falling = [float(cell) for cell in column(2)]
    assert falling == sorted(falling, reverse=True)
    assert click(2) == "ascending"
    assert [float(cell) for cell in column(2)] == sorted(falling)
    assert click(0) == "ascending"
    assert column(0) == sorted(column(0))
    assert browser.run("document.querySelectorAll('th[aria-sort]').length") == 1


@pytest.mark.parametrize(
    ("page", "pages"), [("rank_page_file", (2, 8)), ("train_page_file", (1, 4)), ("warm_up_page_file", (1, 3))]
)
def test_it_prints(request, browser, page, pages, tmp_path):
    browser.open(request.getfixturevalue(page))
    width = "document.querySelector('.plot svg').clientWidth"
    before = browser.run(width)
    browser.run(f"addEventListener('beforeprint', () => {{ window.printedWidth = {width}; }})")
    path = tmp_path / "page.pdf"
    browser.pdf(path)
    # As wide as a page of paper, then as before.
    assert browser.run("window.printedWidth") == 680
    assert browser.run(width) == before
    content = path.read_bytes()
    assert content.startswith(b"%PDF")
    assert pages[0] <= len(re.findall(rb"/Type\s*/Page\b", content)) <= pages[1]
    assert browser.errors == []


def test_hostile_names_run_nothing(browser, search_run, tmp_path):
    study = read_study(search_run)
    odd = {"swap": Score.of(1e9, warnings=(HOSTILE,)), "nwot": Score.failed(HOSTILE)}
    best = Found(HOSTILE, odd["swap"], study.rows[0].costs)
    rows = (replace(study.rows[0], arch=HOSTILE, scores=odd), *study.rows[1:])
    settings = {**study.settings, "space": HOSTILE}
    hostile = replace(study, rows=rows, best=best, front=(best, *study.front), settings=settings)
    path = tmp_path / "hostile.html"
    path.write_text(html.document([search_page.chapter(hostile)]))
    browser.open(path)
    figure = "figure-0-front"
    names = browser.run(f"document.querySelector('#{figure} .plot').data.map(one => one.name)")
    where = place_of(browser, figure, names.index("best"), 0)
    browser.click(*where)
    assert "<img src=x" in text(browser, f"#{figure} .hoverlayer")
    assert text(browser, f"#{figure} .detail code") == HOSTILE
    assert browser.run("document.querySelectorAll('img, b').length") == 0
    assert browser.run("window.hacked") is None
    assert browser.requests == [path.resolve().as_uri()]
    assert browser.errors == []


def test_an_injected_script_would_not_run(browser, search_page_file, tmp_path):
    path = tmp_path / "injected.html"
    page = search_page_file.read_text(encoding="utf-8")
    path.write_text(
        page.replace("<main>", "<main><script>window.hacked=1</script><img src='https://127.0.0.1:9/x.png'>")
    )
    browser.open(path)
    assert browser.run("window.hacked") is None
    assert any("Content Security Policy" in error for error in browser.errors)
