"""COCO's objects as tracks of one frame: every annotation that is no crowd, in the file's order, as MMTracking has it.

The folder is that of the layout `coco`, and its reader reads it, with all that it finds wrong; every picture's header
is looked at, since OpenCV turns a picture by its EXIF orientation as Detectron2 does.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.objects.coco import CocoLayout
from mec_transfer.datasets.objects.conventions import convention_problem
from mec_transfer.datasets.objects.headers import image_problems
from mec_transfer.datasets.tracks.layout import Reading, TracksLayout


class CocoTracksLayout(TracksLayout):
    """A COCO folder, whose splits are called as its files: `train2017`."""

    def split_names(self, folder: Path) -> list[str]:
        """Return the splits that a folder has annotations of, sorted."""
        return CocoLayout("coco").split_names(folder)

    def asked(self, config: TracksDatasetConfig) -> dict[str, object]:
        """Return how many images the published split has: a turned picture of that is taken as it always was."""
        return {"published": (config.promised.images if config.promised else {}).get(config.split)}

    def read(self, config: TracksDatasetConfig, folder: Path, into: Reading) -> None:
        """Read a split. See `TracksLayout`."""
        source = CocoLayout("coco").source(folder, config.split)
        split, problems = source.read(tuple(source.names()))
        into.problems += problems
        if mistake := convention_problem(split):
            into.problems.append(f"{folder}: split '{config.split}': {mistake}")
        trusted = self.asked(config)["published"] == len(split.images)
        (broken,) = image_problems([split], trusted=trusted)
        into.problems += [f"{source.where(split.images[index])}: {what}" for index, what in broken.items()]
        into.seen |= source.seen
        table = split.table
        kept = np.flatnonzero(~table.objects.crowd & ~np.isin(table.image_of_object(), list(broken)))
        kept = kept[np.argsort(source.order[kept], kind="stable")]
        owners, indices = table.image_of_object()[kept].tolist(), dict[int, int]()
        for track, (owner, box) in enumerate(zip(owners, table.objects.xywh[kept].tolist())):
            if owner not in indices:
                indices[owner] = into.add_image(*os.path.split(table.paths[owner]))
            into.add_row(track, indices[owner], 0, box, True)
        into.tracks = len(kept)
