"""Read the text of a NAS-Bench-101 cell without running it: a graph with labels, in any of the published forms."""

import json
import re

from subshot.errors import UnknownNameError

# An operation's code is its position, as in the benchmark.
OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")

FORM = (
    "Write ModelSpec(matrix=[[0, 1, ...], ...], ops=['input', 'conv3x3-bn-relu', ..., 'output']), the same as JSON, "
    "[matrix, labels], with labels -1 input, -2 output, 0 conv3x3, 1 conv1x1, 2 maxpool3x3, or NASLib's digits."
)

Edge = tuple[int, int]

# Labels in the order input, output, operations: the benchmark's own words and numbers, and NASLib's digits.
_WORDS = ("input", "output", *OPERATIONS)
_NUMBERS = (-1, -2, 0, 1, 2)
_NASLIB = ("0", "1", "4", "3", "2")

_LONGEST_TEXT = 4000  # a cell takes some 300 characters
_MODEL_SPEC = re.compile(r"ModelSpec\(\s*(?:matrix\s*=)?\s*(\[.*\])\s*,\s*(?:ops\s*=)?\s*(\[.*\])\s*,?\s*\)", re.DOTALL)


def read_graph(text: str) -> tuple[list[Edge], list[int]]:
    """Edges ``(source, vertex)`` of the graph, and the operations of the vertices between input and output.

    Nothing is pruned, and neither size nor connection is checked.

    Raises:
        ValueError: What is wrong, as all the functions here do.
    """
    matrix, labels = _read(text)
    if not isinstance(labels, list) or len(labels) < 2:
        raise ValueError("its labels are no list of two or more")
    positions = [_position(label) for label in labels]
    if positions[0] != 0 or positions[-1] != 1 or {0, 1} & set(positions[1:-1]):
        raise ValueError("the input must be the first label and the output the last, each once")
    vertices = len(labels)
    if not (
        isinstance(matrix, list)
        and len(matrix) == vertices
        and all(isinstance(row, list) and len(row) == vertices for row in matrix)
    ):
        raise ValueError(f"its matrix is not {vertices} x {vertices}, and it has {vertices} labels")
    if not all(type(entry) is int and entry in (0, 1) for row in matrix for entry in row):
        raise ValueError("its matrix has other entries than 0 and 1")
    edges = [(row, column) for row in range(vertices) for column in range(vertices) if matrix[row][column]]
    if any(source >= vertex for source, vertex in edges):
        raise ValueError("its matrix has entries on or below the diagonal, and edges lead from left to right")
    return edges, [position - 2 for position in positions[1:-1]]


def _read(text: str) -> tuple[object, object]:
    """Matrix and labels of any text form, as they stand there."""
    text = text.strip()
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"it has {len(text)} characters, more than {_LONGEST_TEXT}")
    digits = text.removeprefix("naslib:").strip()
    if re.fullmatch("[0-9]+", digits):
        return _read_digits(digits)
    match = _MODEL_SPEC.fullmatch(text)
    try:
        values = json.loads(f"[{match[1]}, {match[2]}]".replace("'", '"') if match else text)
    except (ValueError, RecursionError):
        raise ValueError("it can't be read") from None
    if not isinstance(values, list) or len(values) != 2:
        raise ValueError("it is no pair of matrix and labels")
    return values[0], values[1]


def _read_digits(digits: str) -> tuple[object, object]:
    """NASLib's form: the matrix row by row, then the labels.

    Other than the digits of other spaces these need no mark of their dialect: only NASLib's have labels for input and
    output, which stand at fixed places.
    """
    vertices = next((n for n in range(2, 8) if n * n + n == len(digits)), None)
    if vertices is None:
        raise ValueError(f"it has {len(digits)} digits, and n vertices take n * n + n of them, with n from 2 to 7")
    matrix = [[int(digit) for digit in digits[row * vertices : (row + 1) * vertices]] for row in range(vertices)]
    labels = digits[vertices * vertices :]
    if not set(labels).issubset(_NASLIB):
        raise ValueError(f"its labels {labels} have digits above 4")
    return matrix, [_WORDS[_NASLIB.index(label)] for label in labels]


def _position(label: object) -> int:
    """Where a label, word or number, stands in the order input, output, operations."""
    if isinstance(label, str):
        if label not in _WORDS:
            raise ValueError(str(UnknownNameError.of("label", label[:40], _WORDS)).rstrip("."))
        return _WORDS.index(label)
    if type(label) is not int or label not in _NUMBERS:
        raise ValueError(f"there is no label {label!r:.40}")
    return _NUMBERS.index(label)
