"""What the layouts of images with objects share: splits are read together, looked at, kept, and fitted to own data.

Every broken annotation is collected, with its file and line, before anything is computed.
"""

from __future__ import annotations

import abc
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import ObjectsDatasetConfig
from mec_transfer.datasets.data import Data, Layout
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.objects import compact, headers
from mec_transfer.datasets.objects.annotation import ObjectImage
from mec_transfer.datasets.objects.conventions import convention_problem
from mec_transfer.datasets.objects.data import ObjectData
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.datasets.own_splits import choose_splits
from mec_transfer.datasets.registry import find_layout, layout_names
from mec_transfer.datasets.states import State

Look = Literal["no", "sample", "all"]
"""What of the image files is looked at: nothing, all headers and a sample decoded, or all decoded."""
SHOWN = 5
"""How many of many problems an error names."""
_TRAIN = ("trainval", "train", "train2017")
_TEST = ("test", "val", "val2017", "valid")


class Source(Protocol):
    """One split's annotations: read when it is made, turned into objects when the classes of all splits are known."""

    name: str
    seen: dict[str, State]
    """What it is read from: files and folders, as they were before."""

    def read(self, classes: tuple[str, ...]) -> tuple[ObjectSplit, list[str]]:
        """Return what is sound of the split, and a line for each thing that is not."""

    def where(self, image: ObjectImage) -> str:
        """Return where in the annotations an image's size stands, for a message to begin with."""


S = TypeVar("S", bound=Source)


class ObjectLayout(Layout, Generic[S]):
    """A layout of images with objects: a subclass says which splits there are, and reads one."""

    holds: str
    """What a folder of this layout is called and holds, for a message: `a VOC folder (Annotations/, ...)`."""

    @abc.abstractmethod
    def annotation_file(self, root: Path, split: str) -> Path:
        """Return the file (or folder) that makes a split. Raises DataError where there is none."""

    @abc.abstractmethod
    def source(self, root: Path, split: str) -> S:
        """Read a split's annotations. Raises DataError where they cannot be used at all."""

    @abc.abstractmethod
    def merge_classes(self, sources: Sequence[S]) -> tuple[str, ...]:
        """Return the classes of all splits together, in the order of the model's."""

    def open(self, config: ObjectsDatasetConfig, folder: Path, index: Index) -> ObjectData:
        """Read the annotations and look at every image's header. Raises DataError for anything that is broken."""
        names, classes = (*config.train, config.test), config.classes or None
        published = config.promised.images if config.promised else None
        opened = self.open_splits(folder, names, classes, config.skip_invalid, "sample", index.folder, published)
        return ObjectData(config, folder, opened)

    def examine(self, config: ObjectsDatasetConfig, folder: Path, index: Index) -> tuple[Data | None, list[str]]:
        """As every layout, with every broken thing a line of its own; what is sound is opened all the same."""
        names, published = (*config.train, config.test), config.promised.images if config.promised else None
        try:
            found = self.read_splits(folder, names, config.classes or None, "sample", None, published)
        except DataError as error:
            return None, [str(error)]
        return ObjectData(config, folder, found), [line for split in found.values() for line in split.skipped]

    def adapt(self, config: ObjectsDatasetConfig, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Find layout and splits of a folder of one's own. Raises DataError where they cannot be guessed."""
        if not settings and {*config.train, config.test} <= set(self.split_names(folder)):
            return {}
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        layouts = [layout for name in layout_names("objects") if isinstance(layout := find_layout(name), ObjectLayout)]
        for layout in sorted(layouts, key=lambda layout: layout.name != self.name):
            if names := layout.split_names(folder):
                return {"layout": layout.name, **choose_splits(folder, names, settings, _TRAIN, _TEST)}
        raise DataError(f"{folder}: is neither {' nor '.join(layout.holds for layout in layouts)}")

    def open_splits(
        self,
        root: Path,
        names: Sequence[str],
        classes: tuple[str, ...] | None = None,
        skip_invalid: bool = False,
        look: Look = "no",
        kept: Path | None = None,
        published: Mapping[str, int] | None = None,
    ) -> dict[str, ObjectSplit]:
        """Read the splits of one data set, which have their classes in common.

        Args:
            root: the data set's own folder.
            names: of the splits, as the layout calls them.
            classes: those of the model, in its order; None: the ones that are found in any of the splits.
            skip_invalid: leave broken objects and images out, and list them in `skipped`, in place of raising; the
                image files are then looked at whatever `look` says, so that every opening leaves the same ones out.
            look: at the image files; an image that is of another size than its annotation says is a problem too.
            kept: folder where what was read is kept for the next process, which then reads it from there.
            published: how many images each split of the published data set has. Where all have as many, it is that
                data set, and a turned picture is taken as the published runs took it, where no size tells its frame.

        Raises:
            DataError: a split is not there, or annotations or images are broken; names file and line of the first ones.
        """
        look = "sample" if skip_invalid and look == "no" else look
        splits = self.read_splits(root, names, classes, look, kept, published)
        problems = [line for split in splits.values() for line in split.skipped]
        listed = "; ".join(problems[:SHOWN])
        rest = len(problems) - SHOWN
        more = f"; and {rest} more, which mec-transfer data check {root} --layout {self.name} lists" if rest > 0 else ""
        if problems and not skip_invalid:
            raise DataError(f"{listed}{more}. Mend them, or leave them out with --skip-invalid")
        for split in splits.values():
            if not split.images:
                why = f": {listed}{more}" if problems else ""
                raise DataError(f"{root}: split '{split.name}' has no usable image{why}")
        return splits

    def read_splits(
        self,
        root: Path,
        names: Sequence[str],
        classes: tuple[str, ...] | None = None,
        look: Look = "no",
        kept: Path | None = None,
        published: Mapping[str, int] | None = None,
    ) -> dict[str, ObjectSplit]:
        """Read splits as `open_splits` does, whatever is broken: `skipped` says what that is, a line each.

        Raises:
            DataError: a split is not there, or its list or JSON file cannot be used at all.
        """
        names, sources = list(dict.fromkeys(names)), None
        stamp = self._stamp(root, names, classes)
        splits = compact.load(kept, stamp) if kept else None
        if splits is None:
            sources, splits = self._read_all(root, names, classes)
            if kept:
                seen = {name: state for source in sources for name, state in source.seen.items()}
                compact.save(kept, stamp, seen, splits)
        if look != "no":
            trusted = bool(published) and all(
                len(split.images) == (published or {}).get(split.name) for split in splits
            )
            stamp = {**stamp, "look": look, "trusted": trusted}
            broken = compact.load_look(kept, stamp, splits) if kept else None
            if broken is None:
                folders = compact.folder_states(splits) if kept else {}
                problems = headers.image_problems(splits, thorough=look == "all", trusted=trusted)
                if any(problems) and sources is None:
                    sources, _ = self._read_all(root, names, classes)  # for the lines of their images
                broken = _placed(splits, problems, sources or ())
                if kept:
                    compact.save_look(kept, stamp, folders, splits, broken)
            splits = [_without(split, wrong) for split, wrong in zip(splits, broken)]
        return {split.name: split for split in splits}

    def _stamp(self, root: Path, names: Sequence[str], classes: tuple[str, ...] | None) -> dict[str, Any]:
        """Return what decides which files are read, and what becomes of them."""
        places = [os.fspath(root), os.fspath(root.absolute())]  # paths and messages begin with the first of them
        files = [os.fspath(self.annotation_file(root, name)) for name in names]
        return {"root": places, "layout": self.name, "names": list(names), "classes": classes, "files": files}

    def _read_all(
        self, root: Path, names: Sequence[str], classes: tuple[str, ...] | None
    ) -> tuple[list[S], list[ObjectSplit]]:
        """Return the splits' annotations, and what they hold with the classes given or found in all of them."""
        sources, splits = [self.source(root, name) for name in names], []
        classes = classes or self.merge_classes(sources)
        for source in sources:
            split, problems = source.read(classes)
            if mistake := convention_problem(split):
                raise DataError(f"{root}: split '{split.name}': {mistake}")
            splits.append(dataclasses.replace(split, skipped=tuple(problems)))
        return sources, splits


def _placed(
    splits: Sequence[ObjectSplit], problems: Sequence[dict[int, str]], sources: Sequence[Source]
) -> list[dict[int, str]]:
    """Return what is wrong with images, by index, each with file and line of the annotation."""
    return [
        {index: f"{source.where(split.images[index])}: {what}" for index, what in wrong.items()}
        for split, wrong, source in zip(splits, problems, sources)
    ] or [{} for _ in splits]


def _without(split: ObjectSplit, broken: dict[int, str]) -> ObjectSplit:
    """Leave out the images, by index, that something is wrong with."""
    if not broken:
        return split
    sound = split.table.take([index for index in range(len(split.images)) if index not in broken])
    return dataclasses.replace(split, images=sound, skipped=(*split.skipped, *broken.values()))
