"""Brush masks both ways, held against Label Studio's own converter."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from label_studio_sdk.converter.brush import decode_rle, mask2rle

from hemaloop import brush
from hemaloop.errors import AnnotationError

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)
MASKS = arrays.arrays(bool, SHAPES)
SOFT = arrays.arrays(np.uint8, SHAPES)


@given(MASKS)
def test_code_is_the_very_one_of_label_studio(mask: Any) -> None:
    assert brush.encode(mask) == mask2rle(mask.astype(np.uint8) * 255)


@given(MASKS)
def test_a_mask_comes_back_as_it_was(mask: Any) -> None:
    assert np.array_equal(brush.decode(brush.encode(mask), mask.shape[1], mask.shape[0]), mask)


@given(SOFT)
def test_soft_strokes_are_read_as_label_studio_reads_them_and_cut_at_half_opacity(soft: Any) -> None:
    height, width = soft.shape
    code = mask2rle(soft)
    alpha = decode_rle(bytes(code)).reshape(height, width, 4)[..., 3]
    assert np.array_equal(brush.decode(code, width, height), alpha >= 128)


def test_a_run_longer_than_a_record_is_split() -> None:
    mask = np.zeros((300, 700), bool)
    mask[10:250] = True
    code = brush.encode(mask)
    assert code == mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(brush.decode(code, 700, 300), mask)


def packed(width: int, height: int, records: str) -> list[int]:
    """A code with these records, written as bits."""
    bits = f"{width * height * 4:032b}" + "00111" + "0010" + "0011" + "0111" + "1111" + records
    bits += "0" * (8 - len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def test_single_values_in_one_record_are_read() -> None:
    values = [255, 255, 255, 200, 0, 0, 0, 90]  # two pixels; their alphas are 200 and 90
    code = packed(2, 1, "000111" + "".join(f"{value:08b}" for value in values))
    assert brush.decode(code, 2, 1).tolist() == [[True, False]]


def test_run_lengths_that_split_pixels_are_read() -> None:
    code = packed(2, 1, "100" + "010" + f"{255:08b}" + "100" + "100" + f"{0:08b}")  # 3 values of 255, then 5 of 0
    assert brush.decode(code, 2, 1).tolist() == [[False, False]]


def test_a_last_run_may_reach_beyond_the_picture() -> None:
    code = packed(1, 1, "100" + "111" + f"{255:08b}")
    assert brush.decode(code, 1, 1).tolist() == [[True]]


@pytest.mark.parametrize("cut", [1, 3, 8])
def test_a_code_that_is_cut_off_is_refused(cut: int) -> None:
    mask = np.random.default_rng(0).random((30, 40)) < 0.5
    code = brush.encode(mask)
    with pytest.raises(AnnotationError, match="cut off or damaged"):
        brush.decode(code[: -2 - cut * 20], 40, 30)


@pytest.mark.parametrize("code", [[], [0, 0], "text", None, [300], [-1], [0.5]])
def test_what_is_no_code_is_refused(code: Any) -> None:
    with pytest.raises(AnnotationError):
        brush.decode(code, 4, 4)


def test_another_size_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(AnnotationError, match="another image"):
        brush.decode(brush.encode(np.ones((4, 4), bool)), 100_000, 100_000)


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_any_bytes_give_a_mask_or_a_complaint(data: bytes) -> None:
    code = (8 * 4 * 4).to_bytes(4, "big") + data
    with contextlib.suppress(AnnotationError):
        assert brush.decode(list(code), 8, 4).shape == (4, 8)
