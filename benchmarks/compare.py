"""How long `mec-transfer compare` takes on as much as COCO val2017, and how often its intervals hold the truth.

    python benchmarks/compare.py [--speed] [--coverage] [--experiments 2000] [--out benchmarks/results/compare.md]

Speed: two models by `coco-fpn-1x-moco`, 5,000 images, 80 classes as unequal as COCO's, 36,000 objects, 100 detections
an image, drawn at random; the command as a process of its own on one core. Coverage: two models on simulated data whose
true difference is known, many times over; `percentile` is the plain percentile interval of the same draws.
"""

from __future__ import annotations

import argparse
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np

from mec_transfer.common.files import write_json, write_text
from mec_transfer.common.runtime import hardware, versions
from mec_transfer.comparison.bootstrap import RESAMPLES, draws, margin, unit_spread
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection.coco_ap import coco_metrics
from mec_transfer.detection.predictions import image_units, save_predictions
from mec_transfer.detection.units import ClassMatches, DetectionUnits
from mec_transfer.results.record import DatasetInfo, ModelInfo, Record, write_record
from mec_transfer.results.store import JOB_NAME
from mec_transfer.suite.registry import benchmark_config, find_benchmark
from mec_transfer.units import Ratios, Units

IMAGES, OBJECTS, CLASSES, DETECTIONS, SIDE = 5000, 36_000, 80, 100, 640
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def shares() -> np.ndarray:
    """How many of the objects are of each class: 30 % of one, and a long tail, as in COCO."""
    tail = 1 / np.arange(1, CLASSES)
    return np.concatenate([[0.3], 0.7 * tail / tail.sum()])


def boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) of x, y, w, h; small ones are the most."""
    sides = np.exp(random.normal(4, 0.9, (count, 2))).clip(4, SIDE / 2)
    return np.concatenate([random.random((count, 2)) * (SIDE - sides), sides], axis=1).round(2)


def draw_truth(random: np.random.Generator) -> tuple[ObjectSplit, np.ndarray, np.ndarray, np.ndarray]:
    """A split, and of each object its image, class and box."""
    where, labels = random.integers(0, IMAGES, OBJECTS), random.choice(CLASSES, OBJECTS, p=shares())
    placed = boxes(random, OBJECTS)
    things: list[list[ObjectAnnotation]] = [[] for _ in range(IMAGES)]
    for image, label, (x, y, w, h) in zip(where.tolist(), labels.tolist(), placed.tolist(), strict=True):
        crowd = bool(random.random() < 0.01)
        things[image].append(
            ObjectAnnotation(class_index=label, box=(x, y, x + w, y + h), xywh=(x, y, w, h), crowd=crowd)
        )
    images = tuple(
        ObjectImage(path=Path(f"{n:012d}.jpg"), image_id=n, width=SIDE, height=SIDE, objects=tuple(mine))
        for n, mine in enumerate(things)
    )
    names = tuple(f"class{number}" for number in range(CLASSES))
    return ObjectSplit(name="val2017", classes=names, images=images), where, labels, placed


def draw_detections(
    random: np.random.Generator, where: np.ndarray, labels: np.ndarray, placed: np.ndarray, off: float
) -> list[dict[str, object]]:
    """A hundred detections an image: objects, each up to three times and by `off` of its size off, and noise."""
    again = np.repeat(np.arange(len(where)), random.integers(0, 4, len(where)))
    again = again[random.permutation(len(again))]
    order = np.argsort(where[again], kind="stable")
    again = again[order]
    first = np.searchsorted(where[again], np.arange(IMAGES))
    again = again[np.arange(len(again)) - first[where[again]] < DETECTIONS]
    noise = np.repeat(np.arange(IMAGES), DETECTIONS - np.bincount(where[again], minlength=IMAGES))
    moved = placed[again] + random.normal(0, off, (len(again), 4)) * placed[again][:, [2, 3, 2, 3]]
    moved[:, 2:] = moved[:, 2:].clip(1)
    found = np.concatenate([moved, boxes(random, len(noise))]).round(2)
    images = np.concatenate([where[again], noise]) + 1
    classes = np.concatenate([labels[again], random.choice(CLASSES, len(noise), p=shares())]) + 1
    scores = np.concatenate([random.beta(3, 2, len(again)), random.beta(1, 5, len(noise))]).round(6)
    rows = zip(images.tolist(), classes.tolist(), found.tolist(), scores.tolist(), strict=True)
    return [{"image_id": i, "category_id": c, "bbox": box, "score": score} for i, c, box, score in rows]


def speed(folder: Path) -> list[str]:
    """Return the lines of the table."""
    random = np.random.default_rng(0)
    split, where, labels, placed = draw_truth(random)
    config = benchmark_config(find_benchmark("coco_fpn_1x", Path()), ["metrics.also=null"])
    evaluator = 0.0
    for name, off in (("one", 0.08), ("two", 0.09)):
        predictions = draw_detections(random, where, labels, placed, off)
        save_predictions(folder / name, split, predictions)
        began = time.perf_counter()
        metrics = coco_metrics(split, predictions, masks=False)
        evaluator = time.perf_counter() - began
        record = Record(
            status="ok",
            model=ModelInfo(name=name, sha256=name, arch="resnet50"),
            benchmark=config.info(),
            dataset=DatasetInfo(name="coco2017", fingerprint="0", num_images=IMAGES),
            metrics=metrics,
            primary="AP",
        )
        write_record(folder / name, record)
        write_json(folder / name / JOB_NAME, {"config": config.model_dump(mode="json")})
    command = [sys.executable, "-m", "mec_transfer.cli.main", "compare", str(folder / "one"), str(folder / "two")]
    before, began = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ONE_CORE)
    wall, after = time.perf_counter() - began, getrusage(RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(done.stdout)

    began = time.perf_counter()
    units = image_units(folder / "one", "coco", masks=False)
    read = time.perf_counter() - began
    began = time.perf_counter()
    units.measure("AP", np.ones((IMAGES, 1), np.int32))
    matched = time.perf_counter() - began
    began = time.perf_counter()
    for counts in draws(IMAGES):
        units.measure("AP", counts)
    measured = time.perf_counter() - began
    return [
        "| what | seconds |",
        "| --- | ---: |",
        f"| `mec-transfer compare one two`, wall | {wall:.1f} |",
        f"| the same, processor | {processor:.1f} |",
        f"| of one model: read predictions and truth | {read:.1f} |",
        f"| of one model: match once | {matched:.1f} |",
        f"| of one model: AP on {RESAMPLES} draws | {measured:.1f} |",
        f"| for comparison: the evaluator, once | {evaluator:.1f} |",
    ]


Pair = tuple[Units, Units]


def _mean(values: np.ndarray, sizes: np.ndarray | None = None) -> Ratios:
    sizes = np.ones(len(values)) if sizes is None else sizes
    return Ratios(kind="units", truth="", totals={"score": values * sizes}, sizes=sizes)


def right_or_wrong(random: np.random.Generator, count: int) -> Pair:
    """Top-1 of 70 % and 66 %; hard images are hard for both."""
    hard = random.random(count)
    one, two = (100.0 * (hard + 0.4 * random.random(count) < limit) for limit in (0.9, 0.86))
    return _mean(one), _mean(two)


def means(random: np.random.Generator, count: int) -> Pair:
    """A mean over sequences, whose scores have a long tail."""
    ease = random.exponential(20, count)
    one, two = (ease + random.normal(mean, 8, count) for mean in (30, 27))
    return _mean(one), _mean(two)


def pooled(random: np.random.Generator, count: int, spread: float = 0.6) -> Pair:
    """A ratio of counts over sequences; 95 % of their lengths lie within a factor of exp(4 x spread), here 11."""
    lengths = np.exp(random.normal(6, spread, count))
    ease = random.normal(60, 15, count)
    one, two = (ease + random.normal(mean, 6, count) * (1 + random.exponential(0.5, count)) for mean in (4, 1))
    return _mean(one, lengths), _mean(two, lengths)


class Drawn(DetectionUnits):
    """Detections that are right or wrong by chance, at one IoU threshold."""

    def __init__(self, count: int, classes: list[ClassMatches]) -> None:
        super().__init__(count, "", [str(number) for number in range(len(classes))], np.linspace(0, 1, 101))
        self._drawn = classes

    def match(self, what: str, area: str) -> list[ClassMatches]:
        return self._drawn


def average_precision(random: np.random.Generator, count: int) -> Pair:
    """AP50 of about 65 and 58 over three classes of 2, 0.7 and 0.3 objects an image."""
    found: tuple[list[ClassMatches], list[ClassMatches]] = [], []
    for objects_an_image in (2.0, 0.7, 0.3):
        positives, ease = random.poisson(objects_an_image, count), random.normal(0, 0.7, count)
        objects = np.repeat(np.arange(count), positives)
        own = random.normal(0, 0.7, len(objects))
        for classes, skill in zip(found, (0.8, 0.6), strict=True):
            seen = skill + ease[objects] + own + random.normal(0, 0.7, len(objects))
            false = np.repeat(np.arange(count), random.poisson(2 * objects_an_image, count))
            order = np.argsort(-np.concatenate([seen, random.normal(-0.5, 1, len(false))]))
            flags = np.zeros((10, len(order)), dtype=bool)
            flags[0] = np.concatenate([seen > -0.5, np.zeros(len(false), dtype=bool)])[order]
            images = np.concatenate([objects, false])[order]
            classes.append(ClassMatches(images=images, right=flags, left_out=0 * flags, positives=positives))
    return Drawn(count, found[0]), Drawn(count, found[1])


CASES: list[tuple[str, str, Callable[[np.random.Generator, int], Pair], Sequence[int]]] = [
    ("top-1, images", "score", right_or_wrong, (50, 200, 1000, 5000)),
    ("mean over sequences", "score", means, (5, 7, 10, 20, 50)),
    ("pooled, lengths within a factor of 11", "score", pooled, (5, 7, 10, 20, 50)),
    ("pooled, lengths within a factor of 55", "score", functools.partial(pooled, spread=1.0), (5, 7, 10, 20, 50)),
    ("AP50, images", "AP50", average_precision, (20, 50, 200, 1000)),
]


def coverage(experiments: int) -> list[str]:
    """Return the lines of the table."""
    lines = ["| metric | units | ours, % | percentile, % |", "| --- | ---: | ---: | ---: |"]
    for title, metric, make, sizes in CASES:
        truth = float(_difference(make(np.random.default_rng(1), 200_000), metric, np.ones((200_000, 1), np.int32))[0])
        for count in sizes:
            ours, percentile = _covered(make, metric, count, truth, experiments)
            lines.append(f"| {title} | {count} | {100 * ours:.1f} | {100 * percentile:.1f} |")
            print(lines[-1], flush=True)
    return lines


def _difference(pair: Pair, metric: str, counts: np.ndarray) -> np.ndarray:
    one, two = (units.measure(metric, counts) for units in pair)
    return one - two


def _covered(
    make: Callable[[np.random.Generator, int], Pair], metric: str, count: int, truth: float, experiments: int
) -> tuple[float, float]:
    random, whole = np.random.default_rng(2), np.ones((count, 1), np.int32)
    counts = np.concatenate(list(draws(count, 200)), axis=1)
    ours = percentile = 0
    for _ in range(experiments):
        pair = make(random, count)
        drawn, measured = _difference(pair, metric, counts), _difference(pair, metric, whole)[0]
        ours += abs(measured - truth) <= margin([unit_spread(drawn, count)], 0.95)
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        percentile += low <= truth <= high
    return ours / experiments, percentile / experiments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="only this")
    parser.add_argument("--coverage", action="store_true", help="only this")
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    machine, made = hardware(), versions()
    parts = []
    if args.speed or not args.coverage:
        with tempfile.TemporaryDirectory() as name:
            parts.append(["## Speed", "", *speed(Path(name))])
    if args.coverage or not args.speed:
        parts.append(["## Coverage", "", *coverage(args.experiments)])
    about = f"{machine['cpu']}, {machine['cores']} cores; numpy {made['numpy']}."
    text = "\n".join([f"# compare.py\n\n{about}\n", "\n\n".join("\n".join(part) for part in parts), ""])
    print(text)
    if args.out:
        write_text(args.out, text)


if __name__ == "__main__":
    main()
