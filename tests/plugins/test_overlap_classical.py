"""Free-standing cells without a label: the cold start."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from hemaloop.plugin import UNKNOWN
from hemaloop_overlap_unet.classical import estimated_diameter, is_inverted, segment
from hemaloop_overlap_unet.sources import cutouts, trusted_classes

PINK, PURPLE, LIGHT = (190, 110, 130), (80, 40, 130), (225, 220, 225)
GRID = [(x, y) for y in (60, 160, 260) for x in (60, 160, 260, 360)]


def smear(
    *middles: tuple[float, float],
    radius: float = 22,
    colour: tuple[int, int, int] = PINK,
    size: tuple[int, int] = (320, 420),
    on: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Discs on an even field, slightly blurred and noisy."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    image = np.full((*size, 3), LIGHT, np.float32) if on is None else on.astype(np.float32)
    for x, y in middles:
        image[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = colour
    image = ndimage.gaussian_filter(image, (0.8, 0.8, 0))
    noise = np.random.default_rng(0).normal(0, 1.5, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def truth(*middles: tuple[float, float], radius: float = 22, size: tuple[int, int] = (320, 420)) -> NDArray[np.bool_]:
    """Pixels of the discs."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.any([(columns - x) ** 2 + (rows - y) ** 2 <= radius**2 for x, y in middles], axis=0)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())


def test_cells_are_found_to_the_pixel() -> None:
    assert iou(segment(smear(*GRID)).red, truth(*GRID)) > 0.93


@pytest.mark.parametrize("times", [0.5, 2.0, 4.0])
def test_the_diameter_scales_with_the_picture(times: float) -> None:
    image = smear(*GRID)
    size = round(image.shape[1] * times), round(image.shape[0] * times)
    scaled = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BICUBIC))
    assert estimated_diameter(scaled) == pytest.approx(44 * times, rel=0.12)


def test_white_cells_and_platelets_are_left_out() -> None:
    image = smear((210, 110), radius=34, colour=PURPLE, on=smear(*GRID))
    image = smear((110, 210), radius=6, colour=PURPLE, on=image)
    found = segment(image)
    assert not found.red[110, 210]
    assert not found.red[210, 110]
    assert found.foreign[110, 210]
    assert iou(found.red, truth(*GRID)) > 0.9


def test_what_is_small_is_no_cell() -> None:
    image = smear((110, 110), radius=6, on=smear(*GRID))
    assert not segment(image).red[100:120, 100:120].any()


def test_a_pallor_is_part_of_its_cell() -> None:
    image = smear(*GRID, radius=9, colour=LIGHT, on=smear(*GRID))
    assert iou(segment(image).red, truth(*GRID)) > 0.9


def test_light_that_falls_off_to_a_side_changes_little() -> None:
    shade = np.linspace(1.0, 0.85, 420)[None, :, None]
    image = (smear(*GRID) * shade).astype(np.uint8)
    assert iou(segment(image).red, truth(*GRID)) > 0.88


def test_grey_pictures_are_segmented() -> None:
    grey = np.repeat(smear(*GRID).mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    assert iou(segment(grey).red, truth(*GRID)) > 0.9


def test_inverted_contrast_is_noticed_and_segmented() -> None:
    image = smear(*GRID)
    assert not is_inverted(image)
    assert is_inverted(255 - image)
    assert iou(segment(255 - image).red, truth(*GRID)) > 0.9


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (7, 7, 3), (64, 64, 3), (300, 20, 3)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_without_cells_has_none(shape: tuple[int, int, int], value: int) -> None:
    found = segment(np.full(shape, value, np.uint8))
    assert found.red.shape == shape[:2]
    assert not found.red.any()


def test_a_picture_that_is_one_clump_gives_no_free_cell_and_no_error() -> None:
    rng = np.random.default_rng(1)
    image = smear(*((x, y) for x in range(0, 421, 26) for y in range(0, 321, 26)))
    classes = trusted_classes(image)
    assert not (classes == 1).any()
    noise = rng.integers(0, 256, (90, 110, 3), dtype=np.uint8)
    assert segment(noise).red.shape == (90, 110)


def test_only_cells_that_are_surely_one_are_trusted() -> None:
    image = smear(*GRID, (60 + 30, 60))  # the first cell of the grid overlaps another
    classes = trusted_classes(image)
    assert classes[60, 60] == UNKNOWN
    assert classes[60, 160] == 1
    assert classes[110, 110] == 0


def test_what_touches_a_white_cell_or_is_pale_is_not_trusted() -> None:
    white, pale = (160, 102), (310, 210)
    image = smear(white, radius=20, colour=PURPLE, on=smear(*GRID))
    image = smear(pale, colour=(210, 185, 195), on=image)
    classes = trusted_classes(image)
    assert classes[50, 160] == UNKNOWN
    assert classes[white[1], white[0]] == 0
    assert classes[pale[1], pale[0]] == UNKNOWN
    assert classes[60, 60] == 1


def test_a_white_cell_is_cut_out_at_the_networks_magnification() -> None:
    image = smear((210, 110), radius=34, colour=PURPLE, on=smear(*GRID))
    (piece,) = cutouts(image, segment(image), 22)
    assert piece.mask.sum() == pytest.approx(np.pi * 17**2, rel=0.35)
    assert piece.passed[piece.mask].mean() < 0.7


def test_red_cells_under_a_scale_bar_are_no_white_cell() -> None:
    image = smear(*GRID)
    x, y = GRID[len(GRID) // 2]
    image[y - 4 : y + 5, x - 60 : x + 60] = 0
    found = segment(image)
    assert found.foreign[y, x]
    assert not any(piece.mask.sum() > 0.6 * np.pi / 4 * 22**2 for piece in cutouts(image, found, 22))
