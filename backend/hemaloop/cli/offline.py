"""Commands for data sets on disk, without Label Studio: train, evaluate, predict, describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hemaloop.formats import PointRules

_FORMATS = (
    "a Pascal VOC or YOLO folder, a COCO .json file, Label Studio's JSON export, a folder of points on cells, or, for "
    "a model of classes, C-NMC, ALL-IDB2 or a folder a class"
)
_MODEL = "A folder that [bold]hemaloop train[/] wrote, or [bold]starter:cbc[/] for the weights that come with hemaloop."

Data = Annotated[Path, typer.Argument(metavar="DATA", help=f"Labelled images: {_FORMATS}.", show_default=False)]
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL, show_default=False)]
ImageFolder = Annotated[
    Path | None, typer.Option("--images", help="Folder with the image files, where they are not beside DATA.")
]
Renamed = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FROM=TO", help="Read a class under another name, e.g. 'Red cell=RBC'; repeatable."),
]
Test = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=0.8,
        help="Share of DATA, fixed by the images' content, to test on: train leaves it out, evaluate uses it alone.",
    ),
]
CellSide = Annotated[
    float | None,
    typer.Option(
        min=4.0,
        help="Side of a usual cell in px, where DATA has only points on cells.",
        show_default="39 on an image 480 px high",
    ),
]
Unlabelled = Annotated[
    bool,
    typer.Option(
        "--ignore-unlabelled/--unlabelled-is-background",
        help="What cells without a point are: neither right nor wrong, or background.",
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, or auto for a GPU where there is one.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run left in the folder.")]


def train(
    data: Data,
    family: Annotated[str, typer.Option(help="Kind of model; [bold]hemaloop plugins[/] lists them.")] = "faster_rcnn",
    preset: Annotated[
        str | None,
        typer.Option(help="Named set of classes and options, e.g. cbc. Without it, the classes are those of DATA."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Set an option of the family; repeatable."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes to learn, separated by commas, in place of the preset's or DATA's.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the trained model.")] = Path("model"),
    seed: Annotated[int, typer.Option(help="Start of the random numbers: the same seed gives the same model.")] = 0,
    tune: Annotated[
        float, typer.Option(min=0.02, max=0.5, help="Share of the images kept back to choose thresholds and epochs.")
    ] = 0.15,
    test: Test = 0.0,
    images: ImageFolder = None,
    mapping: Renamed = None,
    cell_side: CellSide = None,
    ignore_unlabelled: Unlabelled = True,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train a model on labelled images.

    Prints what looks wrong in the data (images full of cells without boxes
    among it), shows the losses while it learns, and writes a folder that
    [bold]evaluate[/] and [bold]predict[/] read. Ctrl-C stops it and leaves nothing half-written.

    Example: [bold]hemaloop train cbc/Training --preset cbc --out my-model[/]
    """
    from hemaloop.cli.offline_training import Order, run

    labels = tuple(name.strip() for name in classes.split(",") if name.strip()) if classes else None
    run(
        Order(
            data=data,
            images=images,
            renamed=pairs(mapping, "--map", "FROM=TO"),
            family=family,
            preset=preset,
            options=pairs(option, "--option", "NAME=VALUE"),
            labels=labels,
            out=out,
            seed=seed,
            tune=tune,
            test=test,
            rules=point_rules(cell_side, ignore_unlabelled),
            device=device,
            overwrite=overwrite,
        )
    )


def evaluate(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the figures and the curves.")] = Path("evaluation"),
    test: Test = 0.0,
    images: ImageFolder = None,
    mapping: Renamed = None,
    cell_side: CellSide = None,
    ignore_unlabelled: Unlabelled = True,
    device: Device = "auto",
) -> None:
    """Measure a model on labelled images that it has not learned from.

    Prints average precision of each class (how well boxes are found), its
    mean beside COCO's two figures, and the number of cells counted against
    the truth. Writes evaluation.json and precision_recall.png. For a model of
    classes: precision, recall, F1 and specificity of each class, the area
    under its ROC curve and the calibration error; writes evaluation.json,
    roc.png, reliability.png and confusion.png.

    Example: [bold]hemaloop evaluate my-model cbc/Testing[/]
    """
    from hemaloop.cli.offline_evaluation import run

    run(
        model,
        data,
        out,
        images=images,
        renamed=pairs(mapping, "--map", "FROM=TO"),
        device=device,
        rules=point_rules(cell_side, ignore_unlabelled),
        test=test,
    )


def predict(
    model: Model,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES…", help="Image files, or folders of them.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("predictions"),
    pictures: Annotated[bool, typer.Option(help="Also draw the boxes on a copy of each image.")] = True,
    explain: Annotated[
        bool, typer.Option("--explain", help="Of a class, also show where each image was seen to be of it.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Find the cells on images, or say what the cell of each image is.

    Writes boxes.csv (a line a cell), counts.csv (a line an image),
    predictions.json (everything) and, in pictures/, each image with its
    boxes; cells worth a second look are dashed. A model of classes writes
    classes.csv (a line an image) in their place, and heat maps in
    explanations/. An image that cannot be read is named and skipped.

    Example: [bold]hemaloop predict starter:cbc my-smears/ --out results[/]
    """
    from hemaloop.cli.offline_prediction import run

    run(model, images, out, pictures=pictures, device=device, explain=explain)


def describe(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the figure and the findings.")] = Path("description"),
    images: ImageFolder = None,
    mapping: Renamed = None,
    cell_side: CellSide = None,
    ignore_unlabelled: Unlabelled = True,
) -> None:
    """Look at labelled images before training on them.

    Prints how many cells of each class there are, how many an image has and
    how large they are, and everything that looks wrong: broken files and
    boxes, the same picture twice, images full of cells that nobody labelled.
    Writes description.json and description.png.

    Example: [bold]hemaloop describe cbc/Training[/]
    """
    from hemaloop.cli.offline_description import run

    rules = point_rules(cell_side, ignore_unlabelled)
    run(data, out, images=images, renamed=pairs(mapping, "--map", "FROM=TO"), rules=rules)


def pairs(texts: list[str] | None, flag: str, form: str) -> dict[str, str]:
    """``["a=b"]`` as ``{"a": "b"}``. Raises `typer.BadParameter` for a text of another form."""
    found = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise typer.BadParameter(f"found {text!r}, expected {form}", param_hint=flag)
        found[name.strip()] = value.strip()
    return found


def point_rules(side: float | None, ignore_unlabelled: bool) -> PointRules:
    """How points become boxes, as it was asked for."""
    from hemaloop.formats.points import PointRules

    return PointRules(side, ignore_unlabelled)


def register(app: typer.Typer) -> None:
    """Add the commands `train`, `evaluate`, `predict` and `describe`."""
    for command in (describe, train, evaluate, predict):
        app.command(rich_help_panel="Without Label Studio")(command)
