"""What an image looks like to the backbone, as one vector."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hemaloop_faster_rcnn.look import Look


def image_features(seen: Look, origins: Tensor) -> NDArray[np.float32]:
    """float32 (2 C,) of length 1: half of it what the field looks like, half what its cells look like.

    The mean over the finest map, and the mean of the pooled features of the proposals `origins` that cells came from
    (zeros without a cell), each of equal length: distances lie in [0, 2].
    """
    channels = len(seen.finest)
    field = seen.finest.mean(dim=(1, 2))
    cells = seen.pooled[origins].mean(dim=(0, 2, 3)) if len(origins) else torch.zeros(channels, device=field.device)
    joined = torch.cat([F.normalize(field, dim=0), F.normalize(cells, dim=0)])
    return F.normalize(joined, dim=0).cpu().numpy()
