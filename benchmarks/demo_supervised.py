"""The scale of the demo's columns: a ResNet-18 trained on the demo world's 1,000 labels.

    python benchmarks/demo_supervised.py runs/demo/data/imagenet supervised.pth
    mec-transfer run --suite demo --model supervised=supervised.pth --only 'supervised/*' --out runs/demo --jobs 2

Trains for 12 epochs with torch alone, prints the top-1 on the test images, and writes the weights as torchvision names
them. The second command puts them beside MEC and random weights.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18

EPOCHS, BATCH, RATE = 12, 32, 0.05


def images(folder: Path, train: bool) -> DataLoader[tuple[Tensor, Tensor]]:
    steps = [transforms.RandomResizedCrop(64, (0.5, 1.0)), transforms.RandomHorizontalFlip()]
    normalise = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    view = [*(steps if train else [transforms.CenterCrop(64)]), transforms.ToTensor(), normalise]
    return DataLoader(ImageFolder(folder, transforms.Compose(view)), BATCH, shuffle=train, drop_last=train)


def main(data: Path, target: Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    train, test = images(data / "train", True), images(data / "val", False)
    network = resnet18(num_classes=10)
    optimizer = torch.optim.SGD(network.parameters(), RATE, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * len(train))
    began = time.monotonic()
    for _ in range(EPOCHS):
        for batch, labels in train:
            optimizer.zero_grad()
            F.cross_entropy(network(batch), labels).backward()
            optimizer.step()
            schedule.step()
    seconds = time.monotonic() - began
    network.eval()
    with torch.no_grad():
        right = sum(int((network(batch).argmax(1) == labels).sum()) for batch, labels in test)
    total = len(test.dataset)  # type: ignore[arg-type]
    print(f"top-1 {100 * right / total:.1f} after {EPOCHS} epochs in {seconds:.0f} s")
    torch.save({"state_dict": network.state_dict()}, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
