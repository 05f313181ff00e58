"""`fineseg ensemble`."""

import json
import math
from pathlib import Path
from typing import Any

import click

from fineseg import FinesegError
from fineseg.cli import warn

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--method", required=True, metavar="NAME", help="Ensembler part; `fineseg plugins list` names them.")
@click.option("--scores", metavar="AP,AP,...", help="AP of each file's model [percent], in their order.")
@click.option("--ground-truth", "truth", type=PATH, help="COCO instances file to score every file against instead.")
@click.option("--option", "settings", multiple=True, metavar="KEY=VALUE", help="Set an option of the part; repeatable.")
@click.option("--out", type=PATH, required=True, help="Results file to write.")
def command(
    files: tuple[Path, ...],
    method: str,
    scores: str | None,
    truth: Path | None,
    settings: tuple[str, ...],
    out: Path,
) -> None:
    """Combine FILES, results of several models in COCO's form on the same images, into one results file."""
    if scores is not None and truth is not None:
        raise FinesegError("--scores and --ground-truth: give one of them, both say how good the models are")
    aps = None if scores is None else given_scores(scores, len(files))
    raw = given_options(settings)

    from fineseg.console import Console
    from fineseg.stages.files import combine_files
    from fineseg.store import write_text

    ensembler, options = choose(method, raw)
    console = Console()
    rows, found = combine_files(files, ensembler, options, console, aps=aps, truth=truth)
    with console.task(f"write {out}"):
        write_text(out, json.dumps(rows, separators=(",", ":"), allow_nan=False))
    for score in found:
        click.echo(f"{score.model}: AP {'not known' if math.isnan(score.ap) else f'{score.ap:.2f}'}")
    images = len({row["image_id"] for row in rows})
    click.echo(
        f"{out}: {len(rows)} detections in {images} images, by {method} from {len(files)} file{'s' * (len(files) != 1)}"
    )


def choose(method: str, raw: dict[str, Any], kind: str = "ensembler") -> tuple[Any, Any]:
    """Return an installed part and its checked options; raises `FinesegError` with one line for each fault."""
    from pydantic import ValidationError

    from fineseg.catalog import load_catalog
    from fineseg.profile.faults import faults_of

    catalog = load_catalog(warn=warn)
    part = catalog.find(kind, method).part
    try:
        return catalog.choose(kind, method, raw)
    except ValidationError as error:
        raise FinesegError("\n".join(faults_of(error, (method,), part.options, raw))) from None


def given_scores(text: str, files: int) -> list[float]:
    """Turn `77.4,76.9` into a score for each file; raises `FinesegError`."""
    try:
        scores = [float(word) for word in text.split(",")]
    except ValueError:
        scores = [math.nan]
    if not all(map(math.isfinite, scores)):
        raise FinesegError(f"--scores {text}: must be numbers, such as 77.4,76.9")
    if len(scores) != files:
        raise FinesegError(f"--scores {text}: {len(scores)} scores for {files} files; give one each, in their order")
    return scores


def given_options(settings: tuple[str, ...]) -> dict[str, Any]:
    """Turn `KEY=VALUE` settings, values as in TOML or bare words, into a table; raises `FinesegError`."""
    from fineseg.profile.load import toml_or_word

    table: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise FinesegError(f"--option {setting}: must be KEY=VALUE, such as nms_iou=0.5")
        try:
            table[key.strip()] = toml_or_word(text)
        except ValueError as error:
            raise FinesegError(f"--option {key.strip()}: {error}") from None
    return table
