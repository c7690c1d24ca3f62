"""Label Studio's run-length code of brush masks: bool (H, W) <-> list of byte values.

The coded picture is RGBA with four equal channels, row by row, values 0 and 255. The code is a stream of bits: how many
values there are (32 bits), bits of a value - 1 (5), bits - 1 of four run lengths (4 each), then records. A record is: a
bit that says "run", two bits that choose one of the four sizes, the length - 1 in as many bits, and one value for the
whole run; without the first bit, as many values as the length says (thi.ng's rle-pack, which the interface uses too).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemaloop.errors import AnnotationError

Mask = NDArray[np.bool_]

THRESHOLD = 128
"""Strokes drawn by people have soft edges: a pixel belongs to the mask from half opacity on."""
_VALUE_BITS = 8
_SIZES = (3, 4, 8, 16)
"""Bits of run lengths that are written; others are read too."""
_HEADER = 32 + 5 + 4 * 4
_DAMAGED = "its mask is cut off or damaged"


def encode(mask: Mask) -> list[int]:
    """bool (H, W) -> byte values, the very ones that Label Studio's own converter writes."""
    flat = np.ascontiguousarray(mask, bool).ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(ends, prepend=0) * 4
    on = flat[ends - 1]
    longest = 1 << _SIZES[-1]
    pieces = np.maximum(1, -(-lengths // longest))  # records a run
    values = np.repeat(np.where(on, 255, 0), pieces)
    last = np.cumsum(pieces) - 1
    records = np.full(len(values), longest, np.int64)
    records[last] = lengths - longest * (pieces - 1)
    chosen = np.searchsorted([1 << size for size in _SIZES[:-1]], records)  # the smallest size that holds the length
    bits = np.array(_SIZES)[chosen]
    codes = ((4 + chosen) << (bits + _VALUE_BITS)) | ((records - 1) << _VALUE_BITS) | values
    return [*_packed(flat.size * 4, codes, bits + 3 + _VALUE_BITS).tobytes()]


def _packed(count: int, codes: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Header and records as bytes, filled up with 1 to 8 zero bits."""
    header = (
        (count << 21)
        | ((_VALUE_BITS - 1) << 16)
        | sum((size - 1) << (12 - 4 * place) for place, size in enumerate(_SIZES))
    )
    ends = _HEADER + np.cumsum(widths)
    total = int(ends[-1]) if len(ends) else _HEADER
    stream = np.zeros((total // 8 + 1) * 8, np.uint8)
    stream[:_HEADER] = [(header >> (_HEADER - 1 - place)) & 1 for place in range(_HEADER)]
    for place in range(int(widths.max(initial=0))):
        reaching = widths > place
        stream[ends[reaching] - 1 - place] = (codes[reaching] >> place) & 1
    return np.packbits(stream)


def decode(rle: Any, width: int, height: int) -> Mask:
    """Byte values -> bool (height, width). Raises `AnnotationError` for a code that is damaged or of another size."""
    try:
        code = bytes(rle)
    except (TypeError, ValueError):
        raise AnnotationError("its mask is not a list of byte values (0 to 255)") from None
    announced = int.from_bytes(code[:4], "big")
    expected = width * height * 4
    # The announced size is checked before memory is allotted for it.
    if len(code) < 8 or announced != expected:
        raise AnnotationError(
            f"its mask holds {announced // 4} pixels, expected {width}x{height} = {expected // 4}: "
            "it was drawn on another image"
        )
    header = int.from_bytes(code[4:7], "big") >> 3
    sizes = [((header >> shift) & 15) + 1 for shift in (12, 8, 4, 0)]
    if (header >> 16) + 1 != _VALUE_BITS:
        raise AnnotationError(_DAMAGED)
    lengths, values = _runs(code, sizes)
    stops = np.cumsum(lengths)
    if not len(stops) or stops[-1] < announced:
        raise AnnotationError(_DAMAGED)
    used = int(np.searchsorted(stops, announced)) + 1
    lengths, values, stops = lengths[:used], values[:used], stops[:used]
    lengths[-1] -= stops[-1] - announced  # a last run may reach beyond the picture
    opaque = values >= THRESHOLD
    if (lengths % 4 == 0).all():
        return np.repeat(opaque, lengths // 4).reshape(height, width)
    return np.ascontiguousarray(np.repeat(opaque, lengths)[3::4]).reshape(height, width)


def _starts(code: bytes, sizes: list[int]) -> NDArray[np.int64]:
    """Bit at which each record begins; where it ends hangs on what it says, so this walks from one to the next."""
    steps = [0, 0, 0, 0, *(3 + size + _VALUE_BITS for size in sizes)]
    padded, end, at = code + bytes(8), len(code) * 8 - 3, _HEADER
    starts: list[int] = []
    note = starts.append
    while at <= end:
        note(at)
        byte = at >> 3
        kind = ((padded[byte] << 8 | padded[byte + 1]) >> (13 - (at & 7))) & 7
        step = steps[kind]
        if not step:  # single values, as many as the length says
            size = sizes[kind]
            word = int.from_bytes(padded[byte : byte + 4], "big")
            count = ((word >> (29 - (at & 7) - size)) & ((1 << size) - 1)) + 1
            step = 3 + size + _VALUE_BITS * count
        at += step
    return np.array(starts, np.int64)


def _runs(code: bytes, sizes: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and values of all runs in values, single values as runs of one; records that are cut off left out."""
    starts = _starts(code, sizes)
    data = np.frombuffer(code + bytes(8), np.uint8)
    kinds = _field(data, starts, 3)
    bits = np.array(sizes * 2, np.int64)[kinds]
    lengths = np.zeros(len(starts), np.int64)
    for size in set(sizes):
        these = bits == size
        lengths[these] = _field(data, starts[these] + 3, size) + 1
    is_run = kinds >= 4
    ends = starts + 3 + bits + _VALUE_BITS * np.where(is_run, 1, lengths)
    complete = ends <= len(code) * 8
    starts, bits, lengths, is_run = (each[complete] for each in (starts, bits, lengths, is_run))
    parts = np.where(is_run, 1, lengths)
    owner = np.repeat(np.arange(len(parts)), parts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
    values = _field(data, (starts + 3 + bits)[owner] + _VALUE_BITS * within, _VALUE_BITS)
    return np.where(is_run, lengths, 1)[owner], values


def _field(data: NDArray[np.uint8], at: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Numbers of `size` <= 16 bits, each from a bit on."""
    byte = at >> 3
    last = len(data) - 3
    byte = np.minimum(byte, last)
    word = data[byte].astype(np.int64) << 16 | data[byte + 1].astype(np.int64) << 8 | data[byte + 2]
    return np.asarray((word >> (24 - size - (at & 7))) & ((1 << size) - 1))
