"""torchvision's FCOS as a model family of a package of its own: nothing in hemaloop knows it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hemaloop.errors import DatasetError, NotFitted, StoreError, TrainingDiverged
from hemaloop.plugin import (
    Detections,
    Example,
    FitReport,
    Image,
    Plugin,
    PluginOptions,
    Prediction,
    Progress,
    Scored,
    option,
)

SOURCE = "Tian et al. 2019, FCOS"


class Options(PluginOptions):
    """Of the network and its training."""

    epochs: int = option(40, "passes over the images", unit="epochs", ge=1)
    channels: int = option(256, "of the feature pyramid and the head", multiple_of=32, ge=32, source=SOURCE)
    convolutions: int = option(4, "of each branch of the head", ge=1, source=SOURCE)
    image_size: int = option(480, "shorter side in use", unit="px", ge=32, source=SOURCE)
    learning_rate: float = option(1e-3, "of AdamW", gt=0)
    threshold: float = option(0.5, "score from which a box is shown", ge=0, le=1)


class FCOS(Plugin):
    """Anchor-free boxes: each place of a feature map says how far the sides of its cell are."""

    family = "fcos"
    version = "1"
    description = "torchvision's FCOS on the first half of a ResNet-18"
    produces = Detections
    Options = Options
    quick_options = {"epochs": 2, "image_size": 64, "channels": 64, "convolutions": 2}
    overfit_options = {"epochs": 70, "image_size": 96, "channels": 64, "convolutions": 2, "learning_rate": 3e-3}
    _network: Any = None

    @property
    def fitted(self) -> bool:
        return self._network is not None

    def _build(self) -> Any:
        import torch
        from torchvision.models import resnet18
        from torchvision.models.detection import fcos
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.backbone_utils import BackboneWithFPN

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            trunk = resnet18(norm_layer=lambda channels: torch.nn.GroupNorm(8, channels))
            backbone = BackboneWithFPN(trunk, {"layer1": "4", "layer2": "8"}, [64, 128], self.options.channels)
            size, classes = self.options.image_size, len(self.labels)
            anchors = AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3)
            head = fcos.FCOSHead(backbone.out_channels, 1, classes, self.options.convolutions)
            return fcos.FCOS(backbone, classes, size, 4 * size, anchor_generator=anchors, head=head, nms_thresh=0.5)

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        import torch

        network = self._network
        if network is None:
            raise NotFitted("fcos has no model yet: call fit or load")
        with torch.inference_mode():
            found = [network([self._tensor(image)])[0] for image in images]  # one at a time: no padding to a batch
        return [self._detections(one, image) for one, image in zip(found, images, strict=True)]

    def _tensor(self, image: Image) -> Any:
        import torch

        return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255

    def _detections(self, found: Any, image: Image) -> Detections:
        height, width = image.shape[:2]
        boxes = np.clip(found["boxes"].numpy(), 0, np.array([width, height, width, height], np.float32))
        keep = (found["scores"].numpy() >= self.options.threshold) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return Detections(boxes[keep], found["labels"].numpy()[keep], found["scores"].numpy()[keep])

    def score(self, images: Sequence[Image]) -> list[Scored]:
        found = self.predict(images)
        return [Scored(one, float(np.sum(1 - one.scores))) for one in found]  # how doubtful its boxes are together

    def fit(self, train: Sequence[Example], tune: Sequence[Example], progress: Progress) -> FitReport:
        import torch

        began, epochs = time.perf_counter(), []
        if not len(train):
            raise DatasetError("fcos: found no example, expected one or more")
        network = self._build().train()
        optimizer = torch.optim.AdamW(network.parameters(), self.options.learning_rate)
        rate, steps = self.options.learning_rate, self.options.epochs * len(train)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
        for epoch in range(self.options.epochs):
            total = 0.0
            for example in train:
                truth = {"boxes": torch.from_numpy(example.truth.boxes.copy())}
                truth["labels"] = torch.from_numpy(example.truth.labels.copy())
                with torch.random.fork_rng(devices=[]):  # torchvision draws a picture's size from the global state
                    loss = sum(network([self._tensor(example.image)], [truth]).values())
                if not torch.isfinite(loss):
                    raise TrainingDiverged(f"fcos: the loss of epoch {epoch} is {float(loss)}; lower learning_rate")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
            epochs.append({"loss": total / len(train)})
            progress.report(epoch + 1, self.options.epochs, "epochs", epochs[-1])
        self._network = network.eval()
        return FitReport(tuple(epochs), {}, (), time.perf_counter() - began)

    def save(self, directory: Path) -> None:
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in self._network.state_dict().items()}, directory / "fcos.safetensors")
        (directory / "fcos.json").write_text(json.dumps({"labels": self.labels}))

    def load(self, directory: Path) -> None:
        from safetensors.torch import load_file

        if not (directory / "fcos.json").is_file():
            raise StoreError(f"fcos: {directory} has no fcos.json")
        if (known := json.loads((directory / "fcos.json").read_text())["labels"]) != list(self.labels):
            raise StoreError(f"fcos: found a model of {known}, expected {list(self.labels)}")
        network = self._build()
        network.load_state_dict(load_file(directory / "fcos.safetensors"))
        self._network = network.eval()

    def unload(self) -> None:
        self._network = None
