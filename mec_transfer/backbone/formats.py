"""The checkpoint formats that are told apart, and which of a file's networks the method's authors evaluate.

A new format is one more row in FORMATS, and one more case in tests/backbone/test_formats.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from mec_transfer.backbone.groups import Content, Group, Scheme, without_wrappers

Role = Literal["online", "teacher"]

OWN_FORMAT = "mec-transfer/1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of checkpoint. It fits a file whose every ResNet is `online` or `teacher` and that has all `marks`.

    All patterns match whole: groups by their name without wrappers (`module`) and without the outer key
    (`state_dict`), marks against any tensor's or key's name the same way.
    """

    name: str
    online: str
    teacher: str = ""
    evaluated: Role = "online"
    marks: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Keys that the file has at its top level."""
    source: str
    """Where the names, and what the authors evaluate, can be read."""
    note: str = ""

    def role(self, group: Group) -> Role | None:
        """Return which of the method's networks this group is."""
        if re.fullmatch(self.online, group.name):
            return "online"
        return "teacher" if self.teacher and re.fullmatch(self.teacher, group.name) else None


_LIGHTNING = ("pytorch-lightning_version",)

_VISSL_TRUNK = r"trunk(\.base_model)?(\._feature_blocks)?"

FORMATS: tuple[Format, ...] = (
    Format(
        name="MEC",
        online="encoder",
        teacher="teacher",
        marks=(r"teacher\..*", r"predictor\..*"),
        source="xinliu20/MEC:benchmarks/linearprob/main_lincls.py loads module.encoder.*",
    ),
    Format(
        name="MoCo v1/v2",
        online="encoder_q",
        teacher="encoder_k",
        source="facebookresearch/moco:main_lincls.py (132aea9) loads module.encoder_q.*",
    ),
    Format(
        name="MoCo v3",
        online="base_encoder",
        teacher="momentum_encoder",
        source="facebookresearch/moco-v3:main_lincls.py loads module.base_encoder.*",
    ),
    Format(
        name="SimSiam",
        online="encoder",
        marks=(r"predictor\..*",),
        source="facebookresearch/simsiam:main_lincls.py loads module.encoder.*",
    ),
    Format(
        name="SwAV",
        online="",
        marks=(r"(projection_head|prototypes)\..*",),
        source="facebookresearch/swav:eval_linear.py loads the network without projection_head and prototypes",
    ),
    Format(
        name="DINO",
        online=r"student(\.backbone)?",
        teacher=r"teacher(\.backbone)?",
        evaluated="teacher",
        keys=("student", "teacher"),
        source="facebookresearch/dino:eval_linear.py, --checkpoint_key defaults to teacher",
    ),
    Format(
        name="VISSL",
        online=rf"classy_state_dict\.base_model\.model\.{_VISSL_TRUNK}",
        teacher=rf"(loss\.(moco|momentum)_encoder|classy_state_dict\.ema_model\.model)\.{_VISSL_TRUNK}",
        keys=("classy_state_dict",),
        source="facebookresearch/vissl:extra_scripts/convert_vissl_to_torchvision.py takes base_model's trunk",
    ),
    Format(
        name="BYOL (PyTorch-BYOL)",
        online=r"online_network_state_dict(\.\w+)?",
        teacher=r"target_network_state_dict(\.\w+)?",
        source="sthalles/PyTorch-BYOL:eval/linear_feature_eval.ipynb loads online_network_state_dict",
    ),
    Format(
        name="BYOL (byol-pytorch)",
        online=r"(learner\.)?(net|online_encoder\.net)",
        teacher=r"(learner\.)?target_encoder\.net",
        marks=(r"(learner\.)?online_predictor\..*",),
        source="lucidrains/byol-pytorch:byol_pytorch/byol_pytorch.py; its trainer.py saves net, the online one",
    ),
    Format(
        name="BYOL",
        online=r"online_(network|encoder|net)(\.\w+)*",
        teacher=r"target_(network|encoder|net)(\.\w+)*",
        source="deepmind/deepmind-research:byol/eval_experiment.py takes online_params; online_network as in "
        "yaox12/BYOL-PyTorch:model/byol_model.py; key names online_encoder and online_net not confirmed in a source",
    ),
    Format(
        name="lightly before 1.5.1",
        online="query_backbone|student_backbone",
        teacher="backbone",
        marks=(r"(query_backbone|student_prediction_head)\..*",),
        source="lightly-ai/lightly:benchmarks/imagenet/resnet50/mocov2.py and byol.py at 610f73e0; the authors of "
        "MoCo and BYOL evaluate the online encoder",
        note="lightly's own benchmark evaluates the momentum encoder of this file: --encoder teacher",
    ),
    Format(
        name="lightly, DINO",
        online="student_backbone",
        teacher="teacher_backbone|backbone",
        evaluated="teacher",
        marks=(r"student_backbone\..*",),
        source="lightly-ai/lightly:benchmarks/imagenet/resnet50/dino.py evaluates backbone, the teacher, as DINO does",
    ),
    Format(
        name="lightly",
        online="backbone",
        teacher="backbone_momentum|teacher_backbone|key_backbone",
        marks=(r"(projection_head|prediction_head|backbone_momentum|teacher_backbone|key_backbone)\..*",),
        source="lightly-ai/lightly:benchmarks/imagenet/resnet50/byol.py and mocov2.py evaluate backbone",
    ),
    Format(
        name="solo-learn",
        online="backbone|encoder",
        teacher="momentum_backbone|momentum_encoder",
        marks=(r"classifier\..*",),
        keys=_LIGHTNING,
        source="vturrisi/solo-learn:main_linear.py loads backbone.* (encoder.* before 1.0.3)",
    ),
    Format(
        name="Lightning",
        online="backbone|encoder|model|net",
        keys=_LIGHTNING,
        source="Lightning-AI/pytorch-lightning:src/lightning/pytorch/trainer/connectors/checkpoint_connector.py; "
        "the network's name is the user's: key names not confirmed in a source",
    ),
    Format(
        name="OpenMMLab",
        online=r"backbone|(encoder|encoder_q|online_net|base_encoder)\.0",
        teacher=r"(encoder_k|target_net|momentum_encoder)\.0",
        keys=("meta",),
        source="open-mmlab/mmselfsup:tools/model_converters/extract_backbone_weights.py takes backbone.*",
    ),
    Format(
        name="Barlow Twins",
        online="backbone",
        marks=(r"projector\.0\.weight", r"bn\.running_mean"),
        source="facebookresearch/barlowtwins:main.py saves model.module.backbone for evaluate.py",
    ),
    Format(
        name="VICReg",
        online="backbone",
        marks=(r"projector\.0\.weight",),
        source="facebookresearch/vicreg:evaluate.py loads module.backbone.*",
    ),
    Format(
        name="SimCLR",
        online=r"backbone|convnet|(model\.)?encoder|f",
        marks=(r"(backbone\.fc|(model\.)?projector|projection|head|g)\..*",),
        source="sthalles/SimCLR:feature_eval/mini_batch_logistic_regression_evaluator.ipynb, "
        "Spijkervet/SimCLR:linear_evaluation.py, "
        "HobbitLong/SupContrast:main_linear.py, AndrewAtanov/simclr-pytorch:models/ssl.py, "
        "leftthomas/SimCLR:linear.py; all evaluate the encoder without its head",
    ),
    Format(
        name="torchvision names",
        online="",
        source="pytorch/vision:torchvision/models/resnet.py; timm's resnets have the same names",
    ),
)
"""Most specific first: the first that fits is taken."""

_OWN = Format(
    name=OWN_FORMAT,
    online="encoder",
    teacher="teacher",
    source="this project's own; MEC's authors evaluate the online encoder",
)

_DETECTRON2 = Format(
    name="Detectron2",
    online=".*",
    source="facebookresearch/detectron2:tools/convert-torchvision-to-d2.py",
)

_TRANSFORMERS = Format(
    name="Hugging Face transformers",
    online=".*",
    source="huggingface/transformers:src/transformers/models/resnet/modeling_resnet.py",
)

_BY_SCHEME: dict[Scheme, Format] = {"detectron2": _DETECTRON2, "transformers": _TRANSFORMERS}
"""The names alone tell these."""


def is_own(root: Mapping[Any, Any]) -> bool:
    """Say whether this project wrote the file with this top level."""
    stated = root.get("format")
    return isinstance(stated, str) and stated == OWN_FORMAT


def recognise(content: Content, root: Mapping[Any, Any], groups: Iterable[Group]) -> Format | None:
    """Return the format that explains every ResNet in the file, or None."""
    groups = list(groups)
    if is_own(root) and all(map(_OWN.role, groups)):
        return _OWN
    if len(groups) == 1 and groups[0].scheme in _BY_SCHEME:
        return _BY_SCHEME[groups[0].scheme]
    names = {without_wrappers(content.shown(name)) for name in content.tensors}
    for candidate in FORMATS:
        if not (groups or candidate.keys):
            continue  # without a ResNet only the top level speaks for a format
        if not all(key in root for key in candidate.keys) or not all(candidate.role(group) for group in groups):
            continue
        if all(any(re.fullmatch(mark, name) for name in names) for mark in candidate.marks):
            return candidate
    return None
