from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import PoolDatasetConfig
from mec_transfer.datasets.images.data import ImageData
from mec_transfer.datasets.registry import open_data
from tests.datasets.images.test_listed import pairs, write

FINDINGS = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
TABLE = "Data_Entry_2017.csv"
DIAGNOSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
TRUTH = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"


def opened(layout: str, folder: Path) -> ImageData:
    data = open_data(PoolDatasetConfig(name="x", layout=layout), folder)
    assert isinstance(data, ImageData)
    assert data.problems == []
    return data


def eurosat(folder: Path) -> None:
    names = ("SeaLake", "AnnualCrop", "Forest")
    write(folder, [f"2750/{name}/{name}_{number}.jpg" for name in names for number in (1, 10, 2)], {})


def cropdiseases(folder: Path) -> None:
    names = ("Tomato___healthy", "Apple___Apple_scab")
    images = [f"{part}/{name}/a {number}.JPG" for part in ("train", "test") for name in names for number in range(3)]
    write(folder, [f"dataset/{image}" for image in images], {})


def isic2018(folder: Path) -> None:
    lines = [["image", *DIAGNOSES]]
    for number in range(14):
        lines.append([f"ISIC_{24306 + number:07d}", *(f"{float(place == number * 3 % 7)}" for place in range(7))])
    write(folder, [f"ISIC2018_Task3_Training_Input/{line[0]}.jpg" for line in lines[1:]], {})
    write(folder, [], {TRUTH: "".join(",".join(line) + "\r\n" for line in lines)})


def chestx(folder: Path) -> None:
    # As in the real file, whose head has a comma within a name and one at its end.
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,OriginalImage[Width,Height],"
    findings = [*FINDINGS[::-1], "No Finding", "Pneumonia", "Hernia", "Mass|Nodule", "Mass", "Effusion"]
    lines = [f"{number:08d}_000.png,{finding},0,1,2682,2749," for number, finding in enumerate(findings)]
    write(folder, [f"images/{number:08d}_000.png" for number in range(len(findings))], {})
    write(folder, [], {"Data_Entry_2017.csv": "\n".join([head, *lines]) + "\n"})


CDFSL_WORLDS: dict[str, Callable[[Path], None]] = {
    "eurosat": eurosat, "cropdiseases": cropdiseases, "isic2018": isic2018, "chestx": chestx,
}  # fmt: skip


@pytest.mark.parametrize(("layout", "below"), [("eurosat", "2750"), ("cropdiseases", "dataset/train")])
def test_class_folders_are_torchvisions(layout: str, below: str, tmp_path: Path) -> None:
    CDFSL_WORLDS[layout](tmp_path)
    theirs = ImageFolder(str(tmp_path / below))
    data = opened(layout, tmp_path)
    assert [path for path, _ in pairs(data, "all")] == [Path(path) for path, _ in theirs.samples]
    assert data.images["all"].labels.tolist() == theirs.targets
    assert list(data.images["all"].classes) == theirs.classes and data.splits == {"all": len(theirs)}


def test_an_image_of_isic_is_of_the_class_that_its_line_marks(tmp_path: Path) -> None:
    isic2018(tmp_path)
    with (tmp_path / TRUTH).open(newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = [
        (tmp_path / f"ISIC2018_Task3_Training_Input/{row['image']}.jpg", name)
        for row in rows
        for name in DIAGNOSES
        if row[name] == "1.0"
    ]
    assert len(wanted) == 14 and pairs(opened("isic2018", tmp_path), "all") == wanted


def test_xrays_of_one_of_seven_findings_are_taken(tmp_path: Path) -> None:
    chestx(tmp_path)
    data = opened("chestx", tmp_path)
    assert data.images["all"].classes == FINDINGS
    numbers = [*range(7), 11, 12]
    names = [*FINDINGS[::-1], "Mass", "Effusion"]
    assert pairs(data, "all") == [
        (tmp_path / f"images/{number:08d}_000.png", name) for number, name in zip(numbers, names, strict=True)
    ]


def test_cells_may_stand_in_quotes_and_have_blanks_around(tmp_path: Path) -> None:
    isic2018(tmp_path / "plain")
    isic2018(tmp_path / "quoted")
    lines = (tmp_path / "quoted" / TRUTH).read_text().splitlines()
    (tmp_path / "quoted" / TRUTH).write_text("".join(f'"{line}",more\n'.replace(",", '" ,"', 7) for line in lines))
    with pytest.raises(DataError, match="a quotation mark may be missing"):  # '"a" ,' is neither in quotes nor bare
        opened("isic2018", tmp_path / "quoted")
    (tmp_path / "quoted" / TRUTH).write_text("".join(f'"{line}",more\n'.replace(",", ' "," ', 7) for line in lines))
    plain, quoted = (opened("isic2018", tmp_path / name).images["all"] for name in ("plain", "quoted"))
    assert plain.paths == quoted.paths and plain.labels.tolist() == quoted.labels.tolist()


def emptied(folder: Path, name: str) -> None:
    for path in (folder / name).iterdir():
        path.unlink()


def edited(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_bytes().decode()
    assert old in text
    (folder / name).write_text(text.replace(old, new), newline="")


@pytest.mark.parametrize(
    ("layout", "spoil", "message"),
    [
        ("eurosat", lambda f: (f / "2750").rename(f / "EuroSAT"), "no folder '2750' in it; 2750/<class>/"),
        ("eurosat", lambda f: emptied(f, "2750/Forest"), "no image in class folder Forest; fill it or remove it"),
        ("cropdiseases", lambda f: (f / "dataset/train").rename(f / "dataset/val"), "no folder 'dataset/train'"),
        ("isic2018", lambda f: (f / TRUTH).unlink(), "GroundTruth.csv: cannot be read"),
        ("isic2018", lambda f: edited(f, TRUTH, "BCC,", ""), "does not begin with the columns image, MEL, NV, BCC"),
        ("isic2018", lambda f: edited(f, TRUTH, "1.0", "0.0"), "line 2: ISIC_0024306 is of 0 classes, not of one"),
        ("isic2018", lambda f: edited(f, TRUTH, "1.0", "x"), "line 2: 'x,0.0,0.0,0.0,0.0,0.0,0.0' are not whole"),
        ("isic2018", lambda f: edited(f, TRUTH, "1.0", "nan"), "line 2: 'nan,0.0,0.0,0.0,0.0,0.0,0.0' are not whole"),
        ("isic2018", lambda f: edited(f, TRUTH, "24316,", '24316,"'), "line 15: unexpected end of data; a quotation"),
        ("isic2018", lambda f: edited(f, TRUTH, "1.0", "1" * 200_000), "line 2: field larger than field limit"),
        ("isic2018", lambda f: edited(f, TRUTH, "024307", "024306"), "name 1 of the images more than once"),
        ("chestx", lambda f: edited(f, TABLE, "Hernia,0", 'Hernia,"0'), "line 14: unexpected end of data"),
        ("eurosat", lambda f: Image.new("RGB", (8, 8)).save(f / "2750/x.jpg"), "1 images lie beside the class folders"),
        ("isic2018", lambda f: edited(f, TRUTH, ",1.0", ""), "line 2: 7 cells, 8 are needed"),
        ("chestx", lambda f: edited(f, "Data_Entry_2017.csv", "Image Index", "Image"), "begin with the columns Image"),
        ("chestx", lambda f: edited(f, "Data_Entry_2017.csv", ",Nodule,", ",Edema,"), "no image of class Nodule"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_where(
    layout: str, spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    CDFSL_WORLDS[layout](tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        opened(layout, tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("layout", CDFSL_WORLDS)
def test_a_folder_that_is_not_there(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        opened(layout, tmp_path / "nowhere")


def test_an_xray_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    chestx(tmp_path)
    (tmp_path / "images/00000003_000.png").unlink()
    with pytest.raises(AssertionError, match="1 of 9 images are missing"):
        opened("chestx", tmp_path)
