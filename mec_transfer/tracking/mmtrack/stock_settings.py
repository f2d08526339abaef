"""The settings of the stock MMTracking files that a protocol card shows, without MMTracking.

Reading a stock file takes an installed MMTracking, since it inherits from its configs. These are copies under the same
keys, for the cards alone; where MMTracking is installed, a test compares them with what the files say.
"""

from __future__ import annotations

from typing import Any

_SIAMRPN: dict[str, Any] = {
    "data.samples_per_epoch": 600000,
    "data.samples_per_gpu": 28,
    "total_epochs": 20,
    "evaluation.start": 10,
    "optimizer.type": "SGD",
    "optimizer.lr": 0.005,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 0.0001,
    "optimizer.paramwise_cfg.custom_keys.backbone.lr_mult": 0.1,
    "optimizer_config.backbone_start_train_epoch": 10,
    "optimizer_config.backbone_train_layers": ["layer2", "layer3", "layer4"],
    "optimizer_config.grad_clip.max_norm": 10.0,
    "lr_config.lr_configs": [
        {"type": "step", "start_lr_factor": 0.2, "end_lr_factor": 1.0, "end_epoch": 5},
        {"type": "log", "start_lr_factor": 1.0, "end_lr_factor": 0.1, "end_epoch": 20},
    ],
    "model.test_cfg.rpn.penalty_k": 0.05,
    "model.test_cfg.rpn.window_influence": 0.42,
    "model.test_cfg.rpn.lr": 0.38,
}


def _test(penalty_k: float, window_influence: float, lr: float) -> dict[str, Any]:
    values = {"penalty_k": penalty_k, "window_influence": window_influence, "lr": lr}
    return {f"model.test_cfg.rpn.{key}": value for key, value in values.items()}


_OTB100 = {**_SIAMRPN, **_test(0.4, 0.5, 0.4), "data.samples_per_gpu": 16}
_FROZEN = {"optimizer_config.backbone_start_train_epoch": 20}

STOCK_SETTINGS: dict[str, dict[str, Any]] = {
    "siamrpn_r50_lasot.py": _SIAMRPN,
    "siamrpn_r50_lasot_frozen.py": _SIAMRPN | _FROZEN,
    "siamrpn_r50_otb100.py": _OTB100,
    "siamrpn_r50_otb100_frozen.py": _OTB100 | _FROZEN,
    "siamrpn_r50_trackingnet.py": _SIAMRPN,
    "siamrpn_r50_uav123.py": _SIAMRPN | _test(0.1, 0.1, 0.5),
    "siamrpn_r50_vot2018.py": _SIAMRPN | _test(0.04, 0.44, 0.33),
    "reid_r50_mot17.py": {
        "total_epochs": 6,
        "optimizer.type": "SGD",
        "optimizer.lr": 0.1,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 0.0001,
        "lr_config.warmup": "linear",
        "lr_config.warmup_iters": 1000,
        "lr_config.step": [5],
        "data.train.triplet_sampler.ins_per_id": 4,
        "model.reid.head.loss_pairwise.margin": 0.3,
    },
    "deepsort_mot17.py": {
        "model.tracker.obj_score_thr": 0.5,
        "model.tracker.reid.num_samples": 10,
        "model.tracker.reid.img_scale": [256, 128],
        "model.tracker.reid.match_score_thr": 2.0,
        "model.tracker.match_iou_thr": 0.5,
        "model.tracker.num_tentatives": 2,
        "model.tracker.num_frames_retain": 100,
    },
}
"""By the stock file's name."""
