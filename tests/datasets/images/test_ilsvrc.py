from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.folders import open_split
from tests.datasets.reading import find_problems

CLASSES = ("n01", "n02", "n03")
NAMES = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 7)]
LABELS = [2, 0, 1, 1, 0, 2]
WNIDS = [CLASSES[label] for label in LABELS]
DEVKIT = {
    "1": "n03",
    "2": "n01",
    "3": "n02",
    "4": "n99",
}  # ILSVRC's ids are not in sorted order; n99 is a parent synset


@pytest.fixture
def flat(make_images: Callable[..., Path]) -> Path:
    return make_images(*[f"train/{c}/{c}_1.JPEG" for c in CLASSES], *[f"val/{name}" for name in NAMES])


def write_devkit(root: Path) -> None:
    to_id = {wnid: identity for identity, wnid in DEVKIT.items()}
    lines = "".join(f"{to_id[wnid]}\n" for wnid in WNIDS)
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


KINDS = {
    "imagenet_2012_validation_synset_labels.txt": "".join(f"{wnid}\n" for wnid in WNIDS),
    "LOC_val_solution.csv": "ImageId,PredictionString\n"
    + "".join(f"{n[:-5]},{w} 1 2 3 4 {w} 5 6 7 8 \n" for n, w in reversed(list(zip(NAMES, WNIDS)))),
    "val.txt": "".join(f"{n} {i}\n" for n, i in zip(NAMES, LABELS)),
    "val_labels.txt": "\ufeff" + "".join(f"val/{n}\t{w}\r\n\n" for n, w in zip(NAMES, WNIDS)),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("where", ["", "val", ".."])
def test_every_label_file_gives_the_same_labels(flat: Path, name: str, where: str) -> None:
    (flat / where / name).write_text(KINDS[name], encoding="utf-8")
    images = open_split(flat, "val")
    assert images.paths == tuple(NAMES)
    assert images.labels.tolist() == LABELS
    assert images.classes == CLASSES
    assert find_problems(flat, "imagefolder") == []


def test_devkit_ids_need_their_mapping(flat: Path) -> None:
    write_devkit(flat)
    assert "put ILSVRC2012_id_to_wnid.txt beside it" in error_of(flat)
    mapping = flat / "ILSVRC2012_id_to_wnid.txt"
    mapping.write_text("".join(f"{i} {w}\n" for i, w in DEVKIT.items()))
    assert open_split(flat, "val").labels.tolist() == LABELS
    mapping.write_text("1 n03\n2 n01\n2 n02\n")
    assert "ILSVRC2012_id_to_wnid.txt, line 3: 'id wnid' is needed, each id once" in error_of(flat)
    mapping.write_text("1 n03\n2 n01\n")
    assert "ground_truth.txt, line 3: id '3' is not in ILSVRC2012_id_to_wnid.txt" in error_of(flat)


def test_kaggle_keeps_its_csv_three_folders_up(flat: Path, tmp_path: Path) -> None:
    deep = tmp_path / "kaggle/ILSVRC/Data/CLS-LOC"
    deep.parent.mkdir(parents=True)
    flat.rename(deep)
    (tmp_path / "kaggle/LOC_val_solution.csv").write_text(KINDS["LOC_val_solution.csv"])
    assert open_split(deep, "val").labels.tolist() == LABELS


def error_of(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_split(root, "val")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_label_file_lists_those_that_would_do(flat: Path) -> None:
    message = error_of(flat)
    assert "6 images without class folders and no label file" in message
    assert all(name in message for name in KINDS)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("val.txt", KINDS["val.txt"].replace(f"{NAMES[2]} 1", NAMES[2]), "line 3: 'name wnid' or 'name index'"),
        ("val.txt", KINDS["val.txt"].replace(f"{NAMES[5]} 2", f"{NAMES[5]} 3"), "line 6: index 3, but train has 3"),
        ("val.txt", KINDS["val.txt"].replace(f"{NAMES[5]} 2", f"{NAMES[5]} -1"), "line 6: class '-1' is not a class"),
        ("val.txt", KINDS["val.txt"] + f"{NAMES[0]} 2\n", f"line 7: {NAMES[0]} stands on line 1 already"),
        ("val.txt", KINDS["val.txt"] + "other.JPEG 2\n", "line 7: other.JPEG is not in "),
        ("val.txt", KINDS["val.txt"].replace(f"{NAMES[5]} 2\n", ""), "no label for 1 of the 6 images, first ILS"),
        ("val_labels.txt", KINDS["val_labels.txt"].replace("n03", "n04"), "line 1: class 'n04' is not a class folder"),
        ("LOC_val_solution.csv", "ImageId,PredictionString\n\nx,\n", "line 3: 'name,wnid x y x y ...' is needed"),
        ("imagenet_2012_validation_synset_labels.txt", "n01\n" * 5, "5 labels for 6 images in val"),
        ("imagenet_2012_validation_synset_labels.txt", "n01\n" * 6, "no image of class n02, n03, which train has"),
    ],
)  # fmt: skip
def test_wrong_lines_are_named(flat: Path, name: str, text: str, expected: str) -> None:
    (flat / name).write_text(text, encoding="utf-8")
    assert expected in error_of(flat)


def test_binary_label_file(flat: Path) -> None:
    (flat / "val.txt").write_bytes(b"\xff\x00\x81")
    assert "val.txt:1: not a text file" in error_of(flat)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_label_files_as_other_systems_write_them(flat: Path, name: str, encoding: str, end: str) -> None:
    text = KINDS[name].removeprefix("\ufeff").replace("\r\n", "\n").replace("\n", end)
    (flat / name).write_bytes(text.encode(encoding))
    assert open_split(flat, "val").labels.tolist() == LABELS


@pytest.mark.parametrize("line", ["{0},{1}", "{0}, {1}", "{0}\t{1}", "val\\{0} {1},", "  {0}  {1} "])
def test_pairs_between_any_separators(flat: Path, line: str) -> None:
    (flat / "val.txt").write_text("".join(line.format(n, w) + "\n" for n, w in zip(NAMES, WNIDS)))
    assert open_split(flat, "val").labels.tolist() == LABELS
