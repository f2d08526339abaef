from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.benchmark import Job
from mec_transfer.common.errors import ConfigError, RunError, UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.videos.davis import DavisVideo
from mec_transfer.datasets.videos.index_masks import encode_index_mask, read_index_mask
from mec_transfer.results.record import DatasetInfo
from mec_transfer.suite.registry import load_benchmark
from mec_transfer.tracking.appearance import Appearance
from mec_transfer.tracking.vos.vos import Vos, _Dino
from tests.datasets.reading import open_videos

COLOURS = ((90, 90, 90), (250, 20, 20), (20, 20, 250))
SIZE = (93, 68)  # 12 x 9 cells, the last ones cut
CPU = torch.device("cpu")


class ByColour:
    """Perfect features: which of the colours the middle of a cell has."""

    device, channels = CPU, 3

    def prepare(self, frames: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(frames.astype(np.float32)).permute(2, 0, 1)[None]

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        rows, columns = (-(-size // 8) for size in pixels.shape[2:])
        middle = pixels[0][:, [min(8 * row + 4, pixels.shape[2] - 1) for row in range(rows)]]
        middle = middle[:, :, [min(8 * column + 4, pixels.shape[3] - 1) for column in range(columns)]]
        distance = [((middle - torch.tensor(colour)[:, None, None].float()) ** 2).sum(0) for colour in COLOURS]
        return torch.nn.functional.one_hot(torch.stack(distance).argmin(0), 3).permute(2, 0, 1)[None].float()


class Shuffled(ByColour):
    """The same features in another order in every frame."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        features = super().__call__(pixels)
        order = torch.randperm(features[0, 0].numel(), generator=self.generator)
        return features.flatten(2)[:, :, order].view_as(features)


def draw(root: Path, frames: int = 9, grey: bool = False, hidden: tuple[int, ...] = (), size=SIZE) -> Path:
    """Two squares that move by whole cells; object 2 is not there in the frames `hidden`."""
    for name in ("ball", "cart"):
        images, masks = root / "JPEGImages" / "480p" / name, root / "Annotations" / "480p" / name
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for time in range(frames):
            mask = np.zeros(size[::-1], np.uint8)
            mask[8:32, 8 + 8 * (time % 4) : 32 + 8 * (time % 4)] = 1
            if time not in hidden:
                mask[40:64, 56:80] = 2
            picture = Image.fromarray(np.array(COLOURS, np.uint8)[mask])
            (picture.convert("L") if grey else picture).save(images / f"{time:05d}.png")
            (masks / f"{time:05d}.png").write_bytes(encode_index_mask(mask))
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("ball\ncart\n")
    return root


def benchmark(name: str, *overrides: str) -> Vos:
    found = load_benchmark(CONFIGS / "tracking" / f"{name}.yaml", list(overrides))
    assert isinstance(found, Vos)
    return found


def first_video(root: Path) -> DavisVideo:
    video = open_videos(root, "davis", "2017/val")[0]
    assert isinstance(video, DavisVideo)
    return video


def scored(vos: Vos, video: DavisVideo, features: ByColour, folder: Path) -> dict[str, float]:
    for name, files in (("truth", vos.truth(video)), ("results", vos.follow(video, features, lambda: None))):
        for path, data in files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).write_bytes(data)
    return vos.measure(folder, [video.name]).overall


@pytest.mark.parametrize("name", ["vos_unitrack", "vos_dino"])
def test_perfect_features_score_near_100_and_shuffled_ones_poorly(name: str, tmp_path: Path) -> None:
    """Also while an object is away longer than the recent frames reach back, and when it returns."""
    vos = benchmark(name, "recipe.recent=2", "recipe.radius=20", "recipe.short_side=64")
    size = (192, 64)  # which the variant dino leaves as it is
    video = first_video(draw(tmp_path / "data", hidden=(3, 4, 5, 6), size=size))
    perfect = scored(vos, video, ByColour(), tmp_path / "perfect")
    # A map of 8 x 8 pixels a cell, made large, rounds the corners off: 6 pixels of each, 24 of a square's 576.
    assert perfect["J"] > 95 and perfect["F"] > 98 and perfect["J_recall"] == perfect["F_recall"] == 100
    assert abs(perfect["J_decay"]) < 2 and perfect["J&F"] == pytest.approx((perfect["J"] + perfect["F"]) / 2)
    for time in range(9):
        found, palette = read_index_mask(tmp_path / "perfect" / "results" / "ball" / f"{time:05d}.png")
        assert palette and (2 in found) == (time not in (3, 4, 5, 6)) and found.shape == size[::-1]
    shuffled = scored(vos, video, Shuffled(), tmp_path / "shuffled")
    assert shuffled["J"] < 40 and shuffled["J&F"] < 40


@pytest.mark.parametrize("name", ["vos_unitrack", "vos_dino"])
@pytest.mark.parametrize("grey", [False, True])
def test_every_frame_gets_a_mask_also_a_grey_one_of_odd_size_or_the_only_one(
    name: str, grey: bool, tmp_path: Path
) -> None:
    vos = benchmark(name, "recipe.short_side=64")
    features = Appearance(resolve_backbone("random:resnet18"), device=CPU)
    video = first_video(draw(tmp_path, frames=3, grey=grey, size=(85, 61)))
    ticks = itertools.count()
    files = vos.follow(video, features, lambda: next(ticks))
    assert next(ticks) == 3
    assert sorted(files) == ["ball/00000.png", "ball/00001.png", "ball/00002.png"]
    alone = DavisVideo(
        frames=video.frames.__class__(**{**vars(video.frames), "paths": video.frames.paths[:1], "numbers": (0,)}),
        files=video.files[:1],
        objects=2,
        merged=False,
    )
    assert vos.follow(alone, features, lambda: None) == {"ball/00000.png": files["ball/00000.png"]}
    for path, data in files.items():
        (tmp_path / Path(path).name).write_bytes(data)
        assert read_index_mask(tmp_path / Path(path).name)[0].shape == (61, 85)


def test_features_that_are_no_numbers_give_no_number(tmp_path: Path) -> None:
    class Broken(ByColour):
        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            return super().__call__(pixels) / 0

    with pytest.raises(RunError, match=r"00000\.png: its features are not finite"):
        benchmark("demo_vos").follow(first_video(draw(tmp_path)), Broken(), lambda: None)


def test_2016_follows_all_objects_as_one(tmp_path: Path) -> None:
    root = draw(tmp_path / "data", frames=4, size=(96, 72))
    (root / "ImageSets" / "2016").mkdir()
    (root / "ImageSets" / "2016" / "val.txt").write_text("cart\n")
    vos = benchmark("vos_unitrack", "dataset.name=davis2016", "dataset.split=2016/val")
    assert vos.config.protocol.startswith("davis17-vos-unitrack+custom-")
    (video,) = open_videos(root, "davis", "2016/val")
    assert isinstance(video, DavisVideo)
    assert scored(vos, video, ByColour(), tmp_path)["J"] > 95
    found, _ = read_index_mask(tmp_path / "results" / "cart" / "00002.png")
    assert set(found.ravel().tolist()) == {0, 1}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        model_name="random",
        backbone=resolve_backbone("random:resnet18"),
        data=open_data(benchmark("demo_vos").config.dataset, draw(tmp_path / "data", frames=4)),
        dataset=DatasetInfo(name="demo", fingerprint="0", num_images=8),
        workdir=tmp_path / "run",
        device="cpu",
    )


def test_a_run_leaves_a_submission_that_gives_the_same_numbers_again(job: Job) -> None:
    vos = benchmark("demo_vos")
    assert vos.check(job) == []
    record = vos.run(job)
    assert set(record.metrics) == set(Vos.METRICS) and record.primary == "J&F"
    assert vos.recompute(job.workdir, record) == record.metrics
    assert (job.workdir / "pictures").is_dir()
    # Every object counts the same, and both sequences have two.
    rows = record.details["by_sequence"]
    assert record.metrics["J"] == pytest.approx((rows["ball"]["J"] + rows["cart"]["J"]) / 2)
    # From the written files alone, by the definition of J: the frames but the first and the last.
    values = []
    for name, number, time in itertools.product(("ball", "cart"), (1, 2), (1, 2)):
        masks = [job.workdir / kind / name / f"{time:05d}.png" for kind in ("truth", "results")]
        truth, found = (np.asarray(Image.open(path)) == number for path in masks)
        values.append((truth & found).sum() / (truth | found).sum())
    assert record.metrics["J"] == pytest.approx(100 * np.mean(values))


def test_trackeval_gives_the_same_numbers_from_the_written_files(tmp_path: Path) -> None:
    """In frames of odd size the masks come out a little off, which leaves something to measure."""
    coder, metrics = pytest.importorskip("pycocotools.mask"), pytest.importorskip("trackeval.metrics")
    pytest.importorskip("skimage")
    vos, video = benchmark("vos_unitrack"), first_video(draw(tmp_path / "data", hidden=(4, 5)))
    ours = scored(vos, video, ByColour(), tmp_path)

    def encoded(kind: str) -> list[list[dict[str, object]]]:
        numbers = [read_index_mask(tmp_path / kind / "ball" / f"{time:05d}.png")[0] for time in range(1, 8)]
        masks = [[np.asfortranarray(frame == number, dtype=np.uint8) for number in (1, 2)] for frame in numbers]
        return [[coder.encode(mask) for mask in frame] for frame in masks]

    both = {"gt_ids": [[0, 1]] * 7, "tracker_ids": [[0, 1]] * 7, "gt_dets": encoded("truth")}
    data = {"num_timesteps": 7, "num_tracker_ids": 2, "num_gt_ids": 2, **both, "tracker_dets": encoded("results")}
    theirs = metrics.JAndF().eval_sequence(data)
    names = {"J": "J-Mean", "F": "F-Mean", "J_recall": "J-Recall", "F_recall": "F-Recall", "J_decay": "J-Decay"}
    names |= {"F_decay": "F-Decay", "J&F": "J&F"}
    assert ours == pytest.approx({name: 100 * theirs[their] for name, their in names.items()}, abs=1e-9)
    assert 70 < ours["J"] < 95


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"ball/00001\.png: no such file"),
        (lambda path: path.write_bytes(b"no png"), r"ball/00001\.png: not a readable image"),
        (lambda path: path.write_bytes(encode_index_mask(np.full((68, 93), 7))), r"numbers up to 7; .* 2 objects"),
        (lambda path: path.write_bytes(encode_index_mask(np.zeros((68, 92)))), r"92x68 pixels, .* has 93x68"),
    ],
)
def test_damaged_results_are_named(job: Job, spoil: Callable[[Path], object], message: str) -> None:
    vos = benchmark("demo_vos")
    scored(vos, first_video(job.data.folder), ByColour(), job.workdir)
    spoil(job.workdir / "results" / "ball" / "00001.png")
    with pytest.raises(UserError, match=message):
        vos.measure(job.workdir, ["ball"])


def test_dinos_frames_are_resized_as_opencv_resizes_them() -> None:
    cv2 = pytest.importorskip("cv2")
    generator = np.random.default_rng(0)
    for height, width, size in ((64, 115, (64, 64)), (64, 139, (64, 128)), (100, 90, (64, 64)), (50, 129, (64, 128))):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        ours = _Dino(64).frame(pixels)
        theirs = cv2.resize(pixels, size[::-1])
        assert ours.shape == theirs.shape == (*size, 3)
        difference = np.abs(ours.astype(int) - theirs)
        # Columns alone, as in every landscape video of 480 rows, are exact; what differs else is one grey level.
        assert difference.max() <= (0 if height == size[0] else 1) and (difference > 0).mean() < 0.02


def test_the_published_settings() -> None:
    unitrack, dino = benchmark("vos_unitrack").config, benchmark("vos_dino").config
    assert (unitrack.protocol, unitrack.metrics.primary) == ("davis17-vos-unitrack", "J")
    assert (dino.protocol, dino.metrics.primary) == ("davis17-vos-dino", "J&F")
    r = unitrack.recipe
    assert (r.stage, r.recent, r.radius, r.topk, r.temperature) == ("layer3", 5, 12, 10, 0.05)
    r = dino.recipe
    assert (r.recent, r.radius, r.topk, r.temperature, r.short_side) == (7, 12, 5, 0.1, 480)
    with pytest.raises(ConfigError, match=r"recipe\.radius"):
        benchmark("vos_unitrack", "recipe.radius=0")
