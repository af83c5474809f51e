"""The JSON header of files that subshot wrote, read without torch and without the tensors."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

# One key: several have no fixed order in the file, and equal contents should be equal bytes.
KEY = "subshot"


def read_header(path: Path, kind: str) -> dict[str, Any] | None:
    """The header of a safetensors file of that kind; ``None`` of any other file, or one that is gone."""
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get(KEY, "null"))
    except (SafetensorError, OSError, ValueError):
        return None
    return header if isinstance(header, dict) and header.get("kind") == kind else None
