"""The TrackingNet layout: TRAIN_0/frames/SEQUENCE/0.jpg and TRAIN_0/anno/SEQUENCE.txt (Mueller et al., ECCV 2018).

Splits are called like the folders: `TEST`, `TRAIN_0` to `TRAIN_11`; `TRAIN` is all of the latter that are there. A line
of the truth is x,y,w,h, a line a frame. Of `TEST` only the first frame's box is public: its server scores the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.scan import file_names, list_folder
from mec_transfer.datasets.videos.box_video import BoxLayout, BoxVideo, read_box_video
from mec_transfer.datasets.videos.frames import open_frames

_CHUNKS = tuple(f"TRAIN_{number}" for number in range(12))


class TrackingNetLayout(BoxLayout[Path]):
    """A folder with the chunks that were unpacked."""

    SPLITS: ClassVar = {
        "TEST": "the 511 sequences that are measured on",
        "TRAIN": "all that is there of the twelve chunks",
        **dict.fromkeys(_CHUNKS, "one of them"),
    }

    def split_names(self, folder: Path) -> list[str]:
        """Return the folders that are there."""
        there = list_folder(folder)[0] if folder.is_dir() else []
        return [name for name in there if name in self.SPLITS and (folder / name / "anno").is_dir()]

    def find(self, root: Path, split: str) -> dict[str, Path]:
        """Return sequence -> its chunk's folder. Raises DataError."""
        found: dict[str, Path] = {}
        for chunk in (name for name in (_CHUNKS if split == "TRAIN" else (split,)) if (root / name).is_dir()):
            texts = {name[:-4] for name in file_names(root / chunk / "anno") if name.endswith(".txt")}
            folders = set(list_folder(root / chunk / "frames")[0])
            for name in sorted(texts | folders):
                if name in found:
                    raise DataError(f"{root / chunk}: sequence '{name}' is in {found[name].name}, too")
                found[name] = root / chunk
        return found

    def read_video(self, name: str, split: str, source: Path, problems: list[str]) -> BoxVideo | None:
        """Read one sequence. See `BoxLayout`."""
        frames = open_frames(source / "frames" / name, name)
        return read_box_video(frames, source / "anno" / f"{name}.txt", problems, first_alone=split == "TEST")
