"""Drawings against the architectures they show, and the small functions behind figures against brute force."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import subshot
from subshot._types import Arch
from subshot.report import _drawn_choices, drawings, figures
from subshot.report._drawing_rules import CHAINS, GRAPHS
from subshot.report._markup import Cell, element, joined, name, table
from subshot.report._words import plain, seconds
from subshot.spaces._space import SPACES


def labels(drawn):
    """The operations that stand beside edges."""
    return re.findall(r"<text(?! class=\"node\")[^>]*>([^<]*)</text>", drawn.text)


def nodes(drawn):
    return re.findall(r'<text class="node"[^>]*>([^<]*)</text>', drawn.text)


def test_a_cell_of_four_nodes_shows_its_six_operations():
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    drawn = drawings.drawing("nasbench201", text)
    assert nodes(drawn) == ["input", "1", "2", "output"]
    assert sorted(labels(drawn)) == sorted(re.findall(r"\w+(?=~)", text))
    assert drawn.text.count('<g class="none">') == 4  # two edges, each a line and a word
    (plain_words,) = re.findall('aria-label="([^"]*)"', drawn.text)
    assert "1 to output: nor_conv_1x1" in plain_words


def test_both_cells_of_darts_are_drawn():
    space = subshot.get_space("darts")
    arch = space.sample(np.random.default_rng(0))
    drawn = drawings.drawing("darts", space.format(arch))
    assert drawn.text.count("<svg") == 2
    assert sorted(word for label in labels(drawn) for word in label.split(" + ")) == sorted(
        re.findall(r"\('(\w+)'", space.format(arch))
    )
    assert nodes(drawn) == 2 * ["cell before last", "last cell", "2", "3", "4", "5", "output"]


def test_vertices_of_nasbench101_are_the_operations():
    text = (
        "ModelSpec(matrix=[[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], "
        "ops=['input', 'conv3x3-bn-relu', 'maxpool3x3', 'output'])"
    )
    drawn = drawings.drawing("nasbench101", text)
    assert nodes(drawn) == ["input", "1: conv3x3-bn-relu", "2: maxpool3x3", "output"]
    assert drawn.text.count('class="tip"') == 4
    assert labels(drawn) == []


@pytest.mark.parametrize("space", ["transnas_micro", "transnas_macro", "nasbench_macro"])
def test_other_spaces_have_drawings(space):
    found = subshot.get_space(space)
    drawn = drawings.drawing(space, found.format(found.sample(np.random.default_rng(0))))
    assert {"input", "output"} <= set(nodes(drawn))


@pytest.mark.parametrize("space", SPACES)
def test_every_sampled_architecture_of_every_space_is_drawn_on_a_phone(space):
    found, rng = subshot.get_space(space), np.random.default_rng(1)
    for _ in range(20):
        drawn = drawings.drawing(space, found.format(found.sample(rng)))
        for width in re.findall(r'<svg[^>]* width="(\d+)"', drawn.text):
            assert 20 < int(width) < 640
        assert "…" not in drawn.text


def sides(drawn):
    return re.findall(r'<text class="end"[^>]*>([^<]*)</text>', drawn.text)


def times(drawn):
    return re.findall(r'<text class="start"[^>]*>× ([^<]*)</text>', drawn.text)


def test_a_chain_shows_what_the_genes_say():
    b0 = "1,3,1,1,6,3,2,1,6,5,2,1,6,3,3,1,6,5,3,1,6,5,4,1,6,3,1,1"  # EfficientNet-B0 (arXiv 1905.11946, table 1)
    drawn = drawings.drawing("mnasnet", b0)
    assert nodes(drawn) == [
        "input",
        "3x3, expands 1x, gated, 16 wide",
        "3x3, expands 6x, gated, 24 wide",
        "5x5, expands 6x, gated, 40 wide",
        "3x3, expands 6x, gated, 80 wide",
        "5x5, expands 6x, gated, 112 wide",
        "5x5, expands 6x, gated, 192 wide",
        "3x3, expands 6x, gated, 320 wide",
        "output",
    ]
    assert times(drawn) == ["2", "2", "3", "3", "4"]
    assert [side[-1] == "↓" for side in sides(drawn)] == [False, True, True, True, False, True, False]
    full = [float(width) for width in re.findall(r'class="full"[^>]* width="([0-9.]+)"', drawn.text)]
    assert full[-1] == max(full)
    assert full[-2] / full[-1] == pytest.approx(192 / 320)


def test_the_layers_of_transformers_are_drawn():
    drawn = drawings.drawing("pit", '{"base_dim":32,"mlp_ratio":4,"depth":[2,6,4],"num_heads":[2,4,8]}')
    assert nodes(drawn)[1:-1] == [f"{heads} heads, {32 * heads} wide, MLP 4x" for heads in (2, 4, 8)]
    assert times(drawn) == ["2", "6", "4"]
    layers = {"mlp_ratio": [4.0, 4.0, 3.5, *[4.0] * 9], "num_heads": [3, 3, 3, *[4] * 9]}
    drawn = drawings.drawing("autoformer", json.dumps({"hidden_dim": 216, "depth": 12, **layers}))
    assert nodes(drawn)[1:-1] == ["3 heads, MLP 4x", "3 heads, MLP 3.5x", "4 heads, MLP 4x"]
    assert times(drawn) == ["2", "9"]
    assert "216 wide" in drawn.text


def test_stages_of_choices_are_blocks():
    space = subshot.get_space("vit")
    values = space.values(space.sample(np.random.default_rng(0)))
    drawn = drawings.drawing("vit", " ".join(f"{name}={value}" for name, value in values.items()))
    assert sides(drawn) == ["stage1", "stage2", "stage3"]
    assert nodes(drawn)[1:-1] == [
        f"heads {values[f'stage{place}.heads']}, mlp ratio {values[f'stage{place}.mlp_ratio']}" for place in (1, 2, 3)
    ]
    depths = [values[f"stage{place}.depth"] for place in (1, 2, 3)]
    assert times(drawn) == [str(depth) for depth in depths if depth > 1]
    assert f"patch {values['patch']}, width {values['width']}" in drawn.text


def test_choices_without_an_order_are_their_text():
    space = subshot.Space({"width": [1, 2], "depth": [1, 2]}, build=lambda width, depth: None)
    assert _drawn_choices.choices(space, space.sample(np.random.default_rng(0)))[1] == []


def test_around_a_model_the_changes_stand_out(own_space):
    drawn = drawings.drawing(own_space, "stem.kernel=5 layer1.depth=3")
    marked = re.findall(r'<g class="changed">(.*?)</g>', drawn.text)
    assert [re.findall(r">([^<]+)</text>", one) for one in marked] == [
        [next(node for node in nodes(drawn) if "kernel 5 (was 3)" in node), "stem"],
        ["depth 3 (was 2)", "layer1"],
    ]
    # As data flows, although depths are listed first.
    found = sides(drawn)
    assert found[:2] == ["stem", "layer1"]
    assert found.index("layer1.0.conv2") < found.index("layer1.1.conv1")
    assert "changed" not in drawings.drawing(own_space, "unchanged").text


def test_of_many_layers_those_unchanged_are_counted(own_space, monkeypatch):
    monkeypatch.setattr(_drawn_choices, "_LONG", 3)
    drawn = drawings.drawing(own_space, "layer1.depth=3")
    assert nodes(drawn)[2] == "depth 3 (was 2)"
    assert nodes(drawn)[3].endswith("unchanged")


def test_what_is_not_known_is_its_text():
    assert drawings.drawing("a space of yours", "x") is None
    assert drawings.drawing("nasbench201", "no cell") is None
    assert drawings.with_text("nowhere", "<x>").text == '<p class="arch"><code>&lt;x&gt;</code></p>'


class Own:
    """A space that says itself how it is drawn."""

    name = "own"

    def __init__(self, edges):
        self._edges = edges

    def sample(self, rng):
        return Arch("own", ())

    def parse(self, text):
        return Arch("own", ())

    def edges(self, arch):
        return self._edges


def draw_own(edges, monkeypatch):
    monkeypatch.setattr(drawings, "_space", lambda name: Own(edges))
    return drawings.drawing("own", "x")


def test_a_space_can_say_how_it_is_drawn(monkeypatch):
    drawn = draw_own({"Cell": [("b", "c", "<op>"), ("a", "b", "x"), ("a", "b", "y")]}, monkeypatch)
    assert nodes(drawn) == ["a", "b", "c"]  # edges lead down
    assert sorted(labels(drawn)) == ["&lt;op&gt;", "x + y"]


def test_a_circle_and_an_empty_graph_are_not_drawn(monkeypatch):
    assert draw_own({"Cell": [("a", "b", ""), ("b", "a", "")]}, monkeypatch) is None
    assert draw_own({"Cell": []}, monkeypatch) is None
    assert draw_own({}, monkeypatch) is None
    assert draw_own({"Good": [("a", "b", "")], "Bad": [("a", "a", "")]}, monkeypatch) is None


def test_spaces_with_a_rule_exist():
    assert {*GRAPHS, *CHAINS} <= set(SPACES)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_the_staircase_has_what_nothing_cheaper_beats(pairs):
    costs, scores = [cost for cost, _ in pairs], [score for _, score in pairs]
    found = figures.staircase(costs, scores)
    assert [costs[one] for one in found] == sorted({costs[one] for one in found})
    best = {
        (cost, score)
        for cost, score in pairs
        if not any((c <= cost and s > score) or (c < cost and s >= score) for c, s in pairs)
    }
    assert {(costs[one], scores[one]) for one in found} == best


@given(st.integers(0, 60), st.sets(st.integers(0, 59), max_size=12), st.integers(1, 40))
def test_thinning_keeps_what_it_must_and_repeats_itself(count, keep, most):
    keep = [row for row in keep if row < count]
    shown = figures.thinned(count, keep=keep, most=most)
    assert shown == sorted(set(shown)) == figures.thinned(count, keep=keep, most=most)
    assert len(shown) == min(count, max(most, len(keep)))
    assert set(keep) <= set(shown) <= set(range(count))


def test_what_is_not_finite_is_no_number():
    assert figures.numbers(np.array([1.0, np.nan, np.inf, 1 / 3])) == [1.0, None, None, 0.3333333]
    assert figures.wide([1.0, 2_000.0])
    assert not figures.wide([0.0, 2_000.0])
    assert not figures.wide([])


def test_texts_are_escaped_and_markup_is_not():
    assert element("p", "<a>", joined(["&", element("b", "x")]), attributes={"title": '"<'}).text == (
        '<p title="&quot;&lt;">&lt;a&gt;&amp;<b>x</b></p>'
    )
    assert name("a_b(c=<d>)").text == "a_<wbr>b(<wbr>c=&lt;d&gt;)"
    made = table(["<h>"], [["<c>"], [Cell("<d>", None)], [Cell("e", 0.5)]], label="<l>").text
    assert "<h>" not in made
    assert "<c>" not in made
    assert 'data-value=""' in made
    assert 'data-value="0.5"' in made


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0239, "23.9 ms"), (14.31, "14.3 s"), (600, "10.0 min"), (7_200, "2.0 h")],
)
def test_durations(value, shown):
    assert seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"swap": {"ternary": False}, "nwot": {}}, "swap (ternary=no), nwot"),
        ([3, 32, 32], "3, 32, 32"),
        (None, ""),
        (0, "0"),
        (1e6, "1,000,000"),
    ],
)
def test_settings_in_words(value, shown):
    assert plain(value) == shown
