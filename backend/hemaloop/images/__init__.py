"""Images of tasks: from the address in a task to RGB pixels.

address     what kind of address it is, and the URL or path behind it
allow_list  which hosts and addresses may be asked          folders   which local files may be read
download    one file over HTTP, within limits               cache     files kept on disk
decode      bytes -> pixels, within limits                  loader    all of it in order
"""

from __future__ import annotations

from hemaloop.images.decode import Limits, LoadedImage, decode_image, image_key
from hemaloop.images.loader import ImageLoader

__all__ = ["ImageLoader", "Limits", "LoadedImage", "decode_image", "image_key"]
