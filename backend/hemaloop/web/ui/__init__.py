"""The page under `/ui`: what is live, what is training, how good it is, and what it learned from.

session   who is signed in, and that a change comes from the page itself
content   what there is to show, from Redis and the store     charts    drawings of it, as SVG
pages     what can be looked at                               actions   what can be changed
"""

from __future__ import annotations

from hemaloop.web.ui.blueprint import blueprint

__all__ = ["blueprint"]
