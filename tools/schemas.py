"""Write the JSON Schemas of what the program leaves for other programs, from the models that it is written with.

python -m tools.schemas
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mec_transfer.common.files import write_text
from mec_transfer.results.board_json import JsonLeaderboard
from mec_transfer.results.record import Record

DOCS = Path(__file__).parents[1] / "docs"


def schemas() -> dict[Path, str]:
    """Return the text of each schema by its file. Keys with a default are not required: older records lack some."""
    documents: dict[str, dict[str, Any]] = {
        "record": Record.model_json_schema(),
        "leaderboard": JsonLeaderboard.model_json_schema(mode="serialization"),
    }
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        DOCS / f"{name}.schema.json": json.dumps(draft | schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in documents.items()
    }


if __name__ == "__main__":
    for path, text in schemas().items():
        write_text(path, text)
