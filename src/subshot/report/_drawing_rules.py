"""How architectures are drawn: graphs of cells, and chains of blocks, by what their genes say."""

from collections.abc import Callable, Mapping, Sequence

from subshot._types import Arch
from subshot.report._draw_chain import Block
from subshot.report._draw_graph import Edge

# Graphs by name; or what all blocks share, and the blocks.
Cells = Mapping[str, Sequence[Edge]]
Chain = tuple[str, Sequence[Block]]

_HALVES = "the first of ↓ halves the map"


def _nasbench201(arch: Arch) -> Cells:
    from subshot.spaces import nasbench201

    return _four_nodes(arch, nasbench201.EDGES, nasbench201.OPERATIONS)


def _transnas_micro(arch: Arch) -> Cells:
    from subshot.spaces import transnas_micro

    return _four_nodes(arch, transnas_micro.EDGES, transnas_micro.OPERATIONS)


def _four_nodes(arch: Arch, edges: Sequence[tuple[int, int]], operations: Sequence[str]) -> Cells:
    names = ("input", "1", "2", "output")
    found = [
        (names[source], names[node], operations[code]) for (node, source), code in zip(edges, arch.genes, strict=True)
    ]
    return {"Cell": found}


def _darts(arch: Arch) -> Cells:
    from subshot.spaces._genotype import OPERATIONS

    names = ("cell before last", "last cell", "2", "3", "4", "5")
    return {
        title: [
            *((names[source], names[pair // 2 + 2], OPERATIONS[code]) for pair, (code, source) in enumerate(cell)),
            *((name, "output", "") for name in names[2:]),
        ]
        for title, cell in zip(("Normal cell", "Reduction cell"), arch.genes, strict=True)
    }


def _nasbench101(arch: Arch) -> Cells:
    from subshot.spaces._model_spec import OPERATIONS

    edges, codes = arch.genes
    inner = [f"{place}: {OPERATIONS[code]}" for place, code in enumerate(codes, start=1)]
    names = ("input", *inner, "output")
    return {"Cell": [(names[source], names[vertex], "") for source, vertex in edges]}


def _transnas_macro(arch: Arch) -> Chain:
    words = {1: "as before", 2: "twice as wide", 3: "half the size", 4: "twice as wide, half the size"}
    width, blocks = 1, []
    for place, digit in enumerate(arch.genes, start=1):
        width *= 2 if digit in (2, 4) else 1
        blocks.append(Block(words[digit], width=width, side=f"module {place}"))
    return "Modules", blocks


def _nasbench_macro(arch: Arch) -> Chain:
    from subshot.spaces.nasbench_macro import LAYERS

    known = [LAYERS[code] for code in arch.genes]
    words = ["identity" if one is None else f"block {one[0]}x{one[0]}, expands {one[1]}x" for one in known]
    return "Layers", [Block(text, side=f"layer {place}") for place, text in enumerate(words, start=1)]


def _mnasnet(arch: Arch) -> Chain:
    from subshot.spaces.mnasnet import LETTERS, SHAPES

    blocks = []
    for place, (_, width, stride) in enumerate(SHAPES):
        expansion, kernel, layers, gated = arch.genes[place * len(LETTERS) :][: len(LETTERS)]
        said = f"{kernel}x{kernel}, expands {expansion}x{', gated' if gated else ''}, {width} wide"
        blocks.append(Block(said, layers, width, f"block {place + 1}{_halves(stride)}"))
    return f"Mobile bottlenecks; {_HALVES}", blocks


def _mobilenetv2_imagenet(arch: Arch) -> Chain:
    stem, *found = arch.genes
    blocks = [
        Block(f"{kernel}x{kernel}, expands {expansion}x, {inner} and {outer} wide", pairs, outer, side)
        for place, (expansion, kernel, inner, outer, pairs, stride) in enumerate(found, start=1)
        for side in (f"block {place}{_halves(stride)}",)
    ]
    return f"Pairs of mobile bottlenecks; {_HALVES}", [
        Block(f"stem, {stem} wide", width=stem, side=_halves(2).strip()),
        *blocks,
    ]


def _halves(stride: int) -> str:
    return " ↓" if stride > 1 else ""


def _autoformer(arch: Arch) -> Chain:
    width, layers = arch.genes
    return f"Layers, {width} wide", [Block(f"{heads} heads, MLP {twice / 2:g}x") for twice, heads in layers]


def _pit(arch: Arch) -> Chain:
    width, ratio, depths, heads = arch.genes
    return "Stages, halved in between", [
        Block(f"{number} heads, {width * number} wide, MLP {ratio}x", depth, width * number, f"stage {place}")
        for place, (depth, number) in enumerate(zip(depths, heads, strict=True), start=1)
    ]


def _flexibert(arch: Arch) -> Chain:
    from subshot.spaces.flexibert import HEADS, INNER_DEPTHS, INNER_WIDTHS, MIXINGS

    kinds = {"SA": "attention", "LT": "transform", "DSC": "convolution"}
    width, layers = arch.genes
    blocks = []
    for mixing, heads, inner, depth in layers:
        kind, parameter = MIXINGS[mixing]
        said = f"{kinds[kind]} {parameter}, {HEADS[heads]} heads, {INNER_DEPTHS[depth]} x {INNER_WIDTHS[inner]} inside"
        blocks.append(Block(said))
    return f"Layers, {width} wide", blocks


GRAPHS: Mapping[str, Callable[[Arch], Cells]] = {
    "nasbench201": _nasbench201,
    "transnas_micro": _transnas_micro,
    "darts": _darts,
    "nasbench101": _nasbench101,
}

CHAINS: Mapping[str, Callable[[Arch], Chain]] = {
    "transnas_macro": _transnas_macro,
    "nasbench_macro": _nasbench_macro,
    "mnasnet": _mnasnet,
    "mobilenetv2_imagenet": _mobilenetv2_imagenet,
    "autoformer": _autoformer,
    "pit": _pit,
    "flexibert": _flexibert,
}
