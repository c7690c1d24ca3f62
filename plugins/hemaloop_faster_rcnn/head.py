"""The box head: what turns each proposal's pooled features into the units that class and box are read from."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class BoxHead(nn.Module):
    """Two fully connected layers, each followed by dropout, as VGG-16's Fast R-CNN has them (Girshick 2015).

    (K, C, S, S) → (K, units). dropout: share of the units that is dropped, in training mode alone. The layers are named
    as torchvision names them, so that its published weights fit.
    """

    def __init__(self, inputs: int, units: int, dropout: float) -> None:
        super().__init__()
        self.fc6 = nn.Linear(inputs, units)
        self.fc7 = nn.Linear(units, units)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: Tensor) -> Tensor:
        """The units of each proposal."""
        return self.upper(self.lower(pooled))

    def lower(self, pooled: Tensor) -> Tensor:
        """Everything before the first dropout, (K, C, S, S) → (K, units): the same in every stochastic pass."""
        return F.relu(self.fc6(pooled.flatten(start_dim=1)))

    def upper(self, lower: Tensor) -> Tensor:
        """The rest: (…, units) → (…, units)."""
        dropped: Tensor = self.dropout(F.relu(self.fc7(self.dropout(lower))))
        return dropped

    def masked(self, lower: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """The rest with given masks, each (…, units): 0 where a unit is dropped, 1 / (1 - dropout) elsewhere."""
        return F.relu(self.fc7(lower * first)) * second
