"""The ReID network for the demo world: small crops and a few steps, to see that it works."""

import os

import mmtrack

_base_ = [os.path.join(os.path.dirname(mmtrack.__file__), ".mim/configs/reid/resnet50_b32x8_MOT17.py")]
model = dict(reid=dict(init_cfg=dict(checkpoint="converted-openmmlab.pth"), neck=dict(kernel_size=(2, 1))))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadMultiImagesFromFile", to_float32=True),
    dict(
        type="SeqResize",
        img_scale=(32, 64),
        share_params=False,
        keep_ratio=False,
        bbox_clip_border=False,
        override=False,
    ),
    dict(type="SeqRandomFlip", share_params=False, flip_ratio=0.5, direction="horizontal"),
    dict(type="SeqNormalize", **img_norm_cfg),
    dict(type="VideoCollect", keys=["img", "gt_label"]),
    dict(type="ReIDFormatBundle"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", img_scale=(32, 64), keep_ratio=False),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="ImageToTensor", keys=["img"]),
    dict(type="Collect", keys=["img"], meta_keys=[]),
]
data = dict(
    samples_per_epoch=4,
    train=dict(pipeline=train_pipeline),
    val=dict(pipeline=test_pipeline),
    test=dict(pipeline=test_pipeline),
)
optimizer = dict(lr=0.01)
lr_config = dict(warmup_iters=2, step=[1])
total_epochs = 2
