"""ssl-transfer's own few_shot.py on the episodes of a finished job, beside the job's numbers.

    mec-transfer knn CKPT --config few_shot_cifar10 --data DIR --out JOB --cache CACHE
    python benchmarks/few_shot_parity.py SSL_TRANSFER JOB CKPT DIR CACHE

SSL_TRANSFER is a checkout of linusericsson/ssl-transfer, of which the classifier (`ProtoNet`) is run as it is, in
float32, on the job's features in place of images. The modules that the file imports for reading data are empty here. A
second opinion is the definition itself, in float64: every distance of every query, and the least of them.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finished_job import open_finished

from mec_transfer.classification.episodes import accuracies, draw_episode
from mec_transfer.classification.few_shot import FewShot
from mec_transfer.common.runtime import derive_seed

DATASETS = {
    "": "isic eurosat cropdiseases chestx few_shot_dataset",
    "dtd": "DTD", "pets": "Pets", "cars": "Cars", "food": "Food", "sun397": "SUN397", "voc2007": "VOC2007",
    "flowers": "Flowers", "aircraft": "Aircraft", "caltech101": "Caltech101",
}  # fmt: skip
"""What few_shot.py imports from which of its modules."""


def their_classifier(file: Path) -> Any:
    for name, members in DATASETS.items():
        full = f"datasets.{name}".rstrip(".")
        sys.modules[full] = types.ModuleType(full)
        vars(sys.modules[full]).update(dict.fromkeys(members.split()))
    module = types.ModuleType("few_shot")
    exec(compile(file.read_text(), str(file), "exec"), vars(module))
    return module.ProtoNet(torch.nn.Identity()).eval()


def by_definition(support: np.ndarray, queries: np.ndarray) -> float:
    right = 0
    for way, own in enumerate(queries):
        for query in own:
            distances = [np.sqrt(((query - shots.mean(axis=0)) ** 2).sum()) for shots in support]
            right += int(np.argmin(distances)) == way
    return right / (queries.shape[0] * queries.shape[1])


def main() -> None:
    job = open_finished(FewShot, sys.argv[2:])
    recipe, splits = job.recipe, job.splits
    values = np.concatenate([job.features[split].values[:].numpy() for split in splits])
    labels = np.concatenate([images.labels for images in splits.values()])
    images = [np.flatnonzero(labels == number) for number in range(labels.max() + 1)]
    classifier = their_classifier(Path(sys.argv[1]) / "few_shot.py")
    own = accuracies(job.predictions)
    for shots in recipe.shots:
        found = []
        for episode in range(recipe.episodes):
            seed = derive_seed(recipe.seed, "few-shot", shots, episode)
            _, rows = draw_episode(images, recipe.ways, shots + recipe.queries, seed)
            drawn = torch.from_numpy(values[rows])
            _, accuracy = classifier.loss({"xs": drawn[:, :shots].clone(), "xq": drawn[:, shots:].clone()})
            exact = values[rows].astype(np.float64)
            found.append((100.0 * accuracy.item(), 100.0 * by_definition(exact[:, :shots], exact[:, shots:])))
        script, definition = np.array(found).T
        metric = f"top1_{shots}shot"
        spread = 1.96 * np.std(script) / np.sqrt(len(script))
        print(
            f"{metric}: the script {script.mean():.6f} +- {spread:.6f}, by definition {definition.mean():.6f}, ", end=""
        )
        print(f"the job {job.record['metrics'][metric]:.6f} +- {job.record['details']['interval_95'][metric]:.6f}")
        for name, other in (("the script", script), ("the definition", definition)):
            apart = np.abs(other - own[metric])
            print(f"  {name} and the job: {(apart > 1e-4).sum()} of {len(apart)} episodes differ, by {apart.max():.2g}")


if __name__ == "__main__":
    main()
