"""Detectron2 0.6 as a wheel of Python alone, made from the package index's source archive without a compiler.

The archive `pb1-detectron2` 0.6 holds the Python of the official 0.6, unchanged, and none of its C++. What that C++
would offer beyond torchvision's kernels is rotated boxes, deformable convolution and a faster COCO evaluation. The
wheel is named `detectron2`, so that the official package replaces it and `pip uninstall` finds it.
"""

from __future__ import annotations

from pathlib import Path

from mec_transfer.engines.repackage import Edit, apply_edits, check_archive, package_files, read_sdist, write_wheel

SDIST_NAME = "pb1-detectron2"
SDIST_VERSION = "0.6"
SDIST_SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
"""The sha256 of pb1-detectron2-0.6.tar.gz, as the package index lists it (uploaded 29 September 2022)."""

WHEEL_VERSION = "0.6+mec1"
"""The local part counts the sets of edits: an installed wheel with another one is made anew."""

NEEDS = (
    "cloudpickle",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.7,<0.1.10",
    "omegaconf>=2.1",
    "pillow>=10",
    "pycocotools>=2.0.2",
    "tabulate",
    "termcolor>=1.1",
    "tqdm>4.29.0",
    "yacs>=0.1.8",
)
"""What its modules import. Left out of the original's list: what only drawing, exporting and lazy configs use."""

PACKAGES = {
    "detectron2": "detectron2",
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}
"""Folder of the archive to folder of the wheel, as the original's setup.py has it."""


_NOTICE = """Detectron2
Copyright (c) Facebook, Inc. and its affiliates. Licensed under the Apache License, Version 2.0.

Repackaged by mec-transfer without the C++ extension. Files that were changed say so in their first line.
"""


_NUMPY = "NumPy 1.24 and later have no such aliases of Python's types"
_NO_EXTENSION = "the C++ extension is not there"
_LAST_LINE = '        logger.info("COCOeval_opt.accumulate() finished in {:0.2f} seconds.".format(toc - tic))\n'
_OPTIONAL = "try:\n    from detectron2 import _C\nexcept ImportError:\n    _C = None\n"

EDITS = (
    Edit("Pillow 10 and later have no Image.LINEAR", "data/transforms/transform.py", "Image.LINEAR", "Image.BILINEAR"),
    Edit("NumPy 2 refuses copy=False here", "layers/mask_ops.py", "np.array(mask, copy=False)", "np.asarray(mask)"),
    Edit(_NUMPY, "evaluation/pascal_voc_evaluation.py", "np.bool)", "bool)", 2),
    Edit(_NUMPY, "evaluation/sem_seg_evaluation.py", "np.int)", "int)", 2),
    Edit(_NUMPY, "evaluation/sem_seg_evaluation.py", "np.float)", "float)", 5),
    Edit(_NUMPY, "structures/masks.py", "np.bool)", "bool)", 3),
    Edit(_NUMPY, "data/datasets/pascal_voc.py", "np.str)", "str)"),
    Edit(_NUMPY, "data/build.py", "np.int)", "int)"),
    Edit(_NUMPY, "data/build.py", "dtype=np.int\n", "dtype=int\n"),
    Edit(_NUMPY, "utils/visualizer.py", "np.bool)", "bool)", 3),
    Edit(_NUMPY, "utils/video_visualizer.py", "np.bool)", "bool)"),
    Edit("setuptools 82 and later have no pkg_resources", "model_zoo/model_zoo.py", "import pkg_resources\n", ""),
    Edit(
        "setuptools 82 and later have no pkg_resources",
        "model_zoo/model_zoo.py",
        'pkg_resources.resource_filename(\n        "detectron2.model_zoo", os.path.join("configs", config_path)\n    )',
        'os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs", config_path)',
    ),
    *(
        Edit(_NO_EXTENSION, file, "\nfrom detectron2 import _C\n", f"\n{_OPTIONAL}")
        for file in ("layers/deform_conv.py", "layers/roi_align_rotated.py", "layers/rotated_boxes.py")
    ),
    Edit(_NO_EXTENSION, "evaluation/fast_eval_api.py", "\nfrom detectron2 import _C\n", f"\n{_OPTIONAL}"),
    Edit(
        "without the C++ extension pycocotools' own evaluation gives the same numbers",
        "evaluation/fast_eval_api.py",
        _LAST_LINE,
        _LAST_LINE + "\n\nif _C is None:\n    COCOeval_opt = COCOeval\n",
    ),
)


def build_wheel(sdist: Path, out: Path) -> Path:
    """Write the wheel of `sdist` into the folder `out`; return its path. The same archive gives the same bytes.

    Raises:
        UserError: `sdist` is not the archive that the edits are written for.
    """
    check_archive(sdist, f"{SDIST_NAME} {SDIST_VERSION}", SDIST_SHA256)
    sources = read_sdist(sdist)
    files = apply_edits(package_files(sources, PACKAGES, (".py", ".yaml")), EDITS, "detectron2", "Detectron2 0.6")
    licences = {"LICENSE": sources["LICENSE"], "NOTICE": _NOTICE.encode()}
    return write_wheel(out, "detectron2", WHEEL_VERSION, files, licences, _about())


def _about() -> str:
    needs = "".join(f"Requires-Dist: {need}\n" for need in NEEDS)
    return (
        "Summary: Detectron2 0.6 without its C++ extension, repackaged by mec-transfer\n"
        "Home-page: https://github.com/facebookresearch/detectron2\nAuthor: FAIR\nLicense: Apache-2.0\n"
        f"Requires-Python: >=3.8\n{needs}"
    )
