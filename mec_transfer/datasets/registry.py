"""Every layout there is, by string, and the one door to all of them.

A layout is a class in a file of its own; its line here is all that the rest of the program knows of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.common.errors import DataError, did_you_mean
from mec_transfer.common.lookup import look_up

if TYPE_CHECKING:
    from mec_transfer.datasets.config import DatasetConfig
    from mec_transfer.datasets.data import Data, Layout
    from mec_transfer.datasets.index import Index

LAYOUTS = {
    "images": {
        "imagefolder": "mec_transfer.datasets.images.folders:ImageFolderLayout",
        "cifar": "mec_transfer.datasets.images.cifar:CifarLayout",
        "places205": "mec_transfer.datasets.images.places205:Places205Layout",
        "inat2018": "mec_transfer.datasets.images.inat2018:INat2018Layout",
        "unlabelled": "mec_transfer.datasets.images.folders:UnlabelledLayout",
        **{
            name: f"mec_transfer.datasets.images.listed:{layout}Layout"
            for name, layout in (
                ("aircraft", "Aircraft"),
                ("caltech101", "Caltech101"),
                ("cars", "Cars"),
                ("dtd", "Dtd"),
                ("flowers102", "Flowers"),
                ("food101", "Food"),
                ("pets", "Pets"),
                ("sun397", "Sun397"),
            )
        },
        "voc2007_classes": "mec_transfer.datasets.images.voc_labels:VocClassesLayout",
    },
    "pools": {
        "chestx": "mec_transfer.datasets.images.cdfsl:ChestXLayout",
        "cropdiseases": "mec_transfer.datasets.images.cdfsl:CropDiseasesLayout",
        "eurosat": "mec_transfer.datasets.images.cdfsl:EuroSatLayout",
        "isic2018": "mec_transfer.datasets.images.cdfsl:Isic2018Layout",
    },
    "shifted": {
        "imagenet_classes": "mec_transfer.datasets.images.shifted:ClassFoldersLayout",
        "imagenet_numbers": "mec_transfer.datasets.images.shifted:NumberFoldersLayout",
    },
    "labels": {
        "voc_labels": "mec_transfer.datasets.images.voc_labels:VocLabelsLayout",
    },
    "objects": {
        "voc": "mec_transfer.datasets.objects.voc:VocLayout",
        "coco": "mec_transfer.datasets.objects.coco:CocoLayout",
        "cityscapes": "mec_transfer.datasets.objects.cityscapes:CityscapesLayout",
    },
    "segments": {
        "voc_seg": "mec_transfer.datasets.segments.voc:VocSegLayout",
        "cityscapes_seg": "mec_transfer.datasets.segments.cityscapes:CityscapesSegLayout",
    },
    "videos": {
        "otb": "mec_transfer.datasets.videos.otb:OtbLayout",
        "lasot": "mec_transfer.datasets.videos.lasot:LasotLayout",
        "uav123": "mec_transfer.datasets.videos.uav123:Uav123Layout",
        "trackingnet": "mec_transfer.datasets.videos.trackingnet:TrackingNetLayout",
        "got10k": "mec_transfer.datasets.videos.got10k:Got10kLayout",
        "vot": "mec_transfer.datasets.videos.vot:VotLayout",
        "davis": "mec_transfer.datasets.videos.davis:DavisLayout",
        "motchallenge": "mec_transfer.datasets.videos.motchallenge:MotChallengeLayout",
        "mots": "mec_transfer.datasets.videos.mots:MotsLayout",
        "posetrack18": "mec_transfer.datasets.videos.posetrack:PoseTrackLayout",
    },
    "tracks": {
        "imagenet_vid": "mec_transfer.datasets.tracks.imagenet_vid:ImageNetVidLayout",
        "imagenet_det": "mec_transfer.datasets.tracks.imagenet_det:ImageNetDetLayout",
        "coco_tracks": "mec_transfer.datasets.tracks.coco:CocoTracksLayout",
        **{
            f"{name}_tracks": "mec_transfer.datasets.tracks.videos:VideoTracksLayout"
            for name in ("lasot", "got10k", "trackingnet", "otb", "uav123")
        },
    },
}
"""Kind -> name -> the class, a `data.Layout`."""


def layout_names(kind: str = "") -> list[str]:
    """Return the names of the layouts of a kind, or of all."""
    return [name for key, names in LAYOUTS.items() if kind in ("", key) for name in names]


def kind_of(name: str) -> str:
    """Return which kind of data a layout holds. Raises DataError for an unknown one; the nearest name is suggested."""
    for kind, names in LAYOUTS.items():
        if name in names:
            return kind
    known = layout_names()
    raise DataError(f"'{name}' is not a layout.{did_you_mean(name, known)} There are: {', '.join(known)}.")


def find_layout(name: str) -> Layout:
    """Return a layout. Raises DataError for an unknown name."""
    layout: Layout = look_up(LAYOUTS[kind_of(name)][name])(name)
    return layout


def open_data(config: DatasetConfig, folder: Path, index: Index | None = None) -> Data:
    """Open the data set in `folder` as `config` describes it.

    Args:
        config: layout, splits and so on.
        folder: the data set's own.
        index: what is known of the folder from before, and gets what is found; None to look and forget.

    Raises:
        DataError: the folder does not hold such a data set, or what it holds is broken; says where and what to do.
    """
    from mec_transfer.datasets.index import Index

    index = index or Index()
    if config.OPENER:
        data: Data = look_up(config.OPENER)(config, folder, index)
        return data
    return find_layout(config.layout).open(config, folder, index)
