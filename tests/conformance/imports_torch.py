"""A family whose package imports torch."""

from __future__ import annotations

import torch

from conformance.remembering import Remembering

THREADS = torch.get_num_threads


class Heavy(Remembering):
    """Keeps every other law."""
