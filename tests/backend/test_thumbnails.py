"""What a thumbnail shows: the boxes and masks of Label Studio's regions, in the colours of their labels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hemaloop import brush
from hemaloop.labelconfig import parse_label_config
from hemaloop.thumbnails import HEIGHT, PALETTE, WIDTH, of_doubt, of_regions

CONFIG = parse_label_config("""<View><Image name="image" value="$image"/>
<RectangleLabels name="boxes" toName="image"><Label value="RBC"/><Label value="WBC"/></RectangleLabels>
<BrushLabels name="masks" toName="image"><Label value="Overlap"/><Label value="Clump"/></BrushLabels></View>""")
GREY = np.full((600, 800, 3), 128, np.uint8)


def pixels(data: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int64)


def rgb(colour: str) -> NDArray[np.int64]:
    return np.array([int(colour[index : index + 2], 16) for index in (1, 3, 5)])


def box(label: str) -> dict[str, object]:
    value = {"x": 25.0, "y": 25.0, "width": 50.0, "height": 50.0, "rotation": 0, "rectanglelabels": [label]}
    return {"from_name": "boxes", "type": "rectanglelabels", "value": value}


def test_a_box_is_drawn_where_it_is_in_the_colour_of_its_label() -> None:
    found = pixels(of_regions(GREY, [box("WBC")], CONFIG.controls))
    assert found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found[HEIGHT // 2, WIDTH // 4] - rgb(PALETTE[1])).max() < 60
    assert np.abs(found[HEIGHT // 2, WIDTH // 2] - 128).max() < 8, "nothing is drawn inside"


def test_a_mask_veils_its_pixels_and_no_others() -> None:
    mask = np.zeros((600, 800), np.uint8)
    mask[:300] = 255
    value = {"format": "rle", "rle": brush.encode(mask), "brushlabels": ["Overlap"]}
    found = pixels(of_regions(GREY, [{"from_name": "masks", "type": "brushlabels", "value": value}], CONFIG.controls))
    expected = 0.45 * rgb(PALETTE[0]) + 0.55 * 128
    assert np.abs(found[50, 200] - expected).max() < 8
    assert np.abs(found[250, 200] - 128).max() < 8


def test_regions_of_unknown_controls_and_kinds_draw_nothing() -> None:
    foreign = {"from_name": "gone", "type": "rectanglelabels", "value": {}}
    choice = {"from_name": "boxes", "type": "choices", "value": {"choices": ["x"]}}
    assert np.abs(pixels(of_regions(GREY, [foreign, choice], CONFIG.controls)) - 128).max() < 4


def test_a_doubted_cell_is_cut_out_with_its_surroundings_also_at_the_edge() -> None:
    image = GREY.copy()
    image[290:310, 390:410] = (255, 0, 0)
    middle = pixels(of_doubt(image, (390, 290, 410, 310), PALETTE[0]))
    assert middle.shape[0] == HEIGHT, "small cells are shown large"
    assert middle[HEIGHT // 2, middle.shape[1] // 2][0] > 200
    assert pixels(of_doubt(image, (0, 0, 5, 5), PALETTE[0])).size
    assert pixels(of_doubt(image, None, PALETTE[0])).shape == (HEIGHT, WIDTH, 3)
