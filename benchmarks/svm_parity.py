"""VISSL's own svm_trainer.py on the features of a finished job, beside the job's numbers.

    mec-transfer linear CKPT --config voc07_svm --data DIR --out JOB --cache CACHE
    python benchmarks/svm_parity.py VISSL JOB CKPT DIR CACHE

VISSL is a checkout of facebookresearch/vissl, of which two files are run as they are. In place of what they import
stand the few functions that they call. Three things are set from outside: LinearSVC gets the job's seed, classes are
trained one after the other, since the solver's generator is not made for threads, and the average precision, an array
of one number, becomes a number, since NumPy 2.4 asks for one.
"""

from __future__ import annotations

import functools
import logging
import pickle
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from finished_job import open_finished
from sklearn.svm import LinearSVC

from mec_transfer.classification.svm import Svm
from mec_transfer.common.runtime import derive_seed


def save_file(value: Any, name: str, **options: Any) -> None:
    np.save(name, value)


def load_file(name: str, **options: Any) -> Any:
    return np.load(name) if name.endswith(".npy") else pickle.loads(Path(name).read_bytes())


class Files:
    exists = staticmethod(lambda name: Path(name).exists())
    mkdirs = staticmethod(lambda name: Path(name).mkdir(parents=True, exist_ok=True))
    open = staticmethod(open)


class Now:
    """A thread that does its work when it is started, before the next one."""

    def __init__(self, target: Any, args: Any) -> None:
        self.start = functools.partial(target, *args)

    def join(self) -> None:
        pass


def put_module(name: str, file: Path | None = None, **names: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(names)
    sys.modules[name] = module
    if file:
        exec(compile(file.read_text(), str(file), "exec"), vars(module))
    return module


def trainer_of(vissl: Path, seed: int) -> types.ModuleType:
    for name in ("vissl", "vissl.utils", "vissl.utils.svm_utils", "iopath", "iopath.common"):
        put_module(name)
    put_module("vissl.utils.io", save_file=save_file, load_file=load_file)
    put_module("iopath.common.file_io", g_pathmgr=Files)
    folder = vissl / "vissl" / "utils" / "svm_utils"
    measure = put_module("vissl.utils.svm_utils.evaluate", folder / "evaluate.py").get_precision_recall
    trainer: Any = put_module("vissl.utils.svm_utils.svm_trainer", folder / "svm_trainer.py")
    trainer.get_precision_recall = lambda *args: (*measure(*args)[:3], np.asarray(measure(*args)[3]).item())
    trainer.LinearSVC = functools.partial(LinearSVC, random_state=seed)
    trainer.threading = types.SimpleNamespace(Thread=Now)
    return trainer


class Config(dict[str, Any]):
    force_retrain = False


def main() -> None:
    job = open_finished(Svm, sys.argv[2:])
    recipe, record, splits = job.recipe, job.record, job.splits
    trainer: Any = trainer_of(Path(sys.argv[1]), derive_seed(record["seed"], record["trial"], "svm") % 2**32)
    config = Config(
        normalize=True,
        costs={"costs_list": list(recipe.costs), "base": -1.0, "power_range": [4, 20]},
        cls_list=[],
        loss="squared_hinge",
        penalty="l2",
        dual=True,
        max_iter=recipe.max_iter,
        cross_val_folds=recipe.folds,
    )
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = trainer.SVMTrainer(config, layer="pooled", output_dir=out)
        values = {name: np.array(job.features[name].values[:].numpy()).astype(np.float64) for name in ("train", "test")}
        theirs.train(values["train"], splits["train"].labels.astype(np.int32))
        theirs.test(values["test"], splits["test"].labels.astype(np.int32))
        precisions = 100.0 * np.load(f"{out}/pooled/test_ap.npy")[:, 0]
        costs = np.load(f"{out}/pooled/chosen_cost.npy").tolist()
        scores = [
            load_file(f"{out}/pooled/cls{number}_cost{float(cost)}.pickle").decision_function(
                theirs._normalize_features(values["test"])
            )
            for number, cost in enumerate(costs)
        ]
    apart = float(np.abs(np.stack(scores, axis=1) - job.predictions["scores"]).max())
    print(f"mAP: VISSL {precisions.mean():.10f}, the job {record['metrics']['mAP']:.10f}")
    for number, name in enumerate(splits["train"].classes):
        own = record["details"]["costs"][name], record["metrics"][f"AP/{name}"]
        print(f"{name}: VISSL C {costs[number]:g}, AP {precisions[number]:.6f}; the job C {own[0]:g}, AP {own[1]:.6f}")
    print(f"scores differ by {apart:.2g} at most")


if __name__ == "__main__":
    main()
