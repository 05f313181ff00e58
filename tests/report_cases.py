"""A made-up run for reports: its figures, curves and pictures."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fineseg import Category, ImageInfo, Instances, TrueObject, make_instances
from fineseg.data import masks
from fineseg.report.analysis import KINDS
from fineseg.report.page import Example, ReportData
from fineseg.report.records import Analysis

HOSTILE = "<script>alert('sofa')</script>"
HEIGHT, WIDTH = 300, 400


def analysis(ap: float, *, worst: str = "missed", classes: int = 2) -> Analysis:
    falling = [max(0.0, 100.0 - point) for point in range(101)]
    return Analysis(
        mean_precision={"50": falling, "75": falling, "mean": falling},
        precision={key: [[ap] * 101] * (classes - 1) + [None] for key in ("50", "75", "mean")},
        ap50=ap,
        gains={kind: 9.25 if kind == worst else 1.0 for kind in KINDS},
        counts={kind: 1234 for kind in KINDS},
        confusions=[(0, 1, 7)],
        edges=[8.0, 11.3, 16.0, 22.6],
        objects=[3, 0, 40],
        recall50=[33.3, None, 90.0],
        recall=[12.0, None, 60.0],
    )


def ellipse(centre: tuple[int, int], axes: tuple[int, int], hole: float = 0.0) -> np.ndarray:
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(canvas, centre, axes, 0, 0, 360, 1, -1)
    if hole:
        cv2.ellipse(canvas, centre, (int(axes[0] * hole), int(axes[1] * hole)), 0, 0, 360, 0, -1)
    return canvas.astype(bool)


def predicted(image_id: int, found: list[tuple[int, float, np.ndarray]]) -> Instances:
    counts = [masks.encode(mask) for *_, mask in found]
    labels, values = [label for label, *_ in found], [score for _, score, _ in found]
    return make_instances(image_id, (HEIGHT, WIDTH), labels, values, masks.boxes(counts, HEIGHT, WIDTH), counts)


GROUPS = ("worst", "best", "random")


def drawn_example(folder: Path, number: int) -> Example:
    """An image with a ring (RLE) and a rectangle (polygon), and what two models and their ensemble say of it."""
    ring = ellipse((130 + 4 * number, 140), (90, 80), hole=0.5)
    pixels = np.random.default_rng(number).normal(200, 12, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
    pixels[ring] = (60, 90, 160)
    pixels[60:240, 280:370] = (120, 60, 60)
    file = folder / f"room {number}.jpg"
    cv2.imwrite(str(file), pixels)
    rle = {"size": [HEIGHT, WIDTH], "counts": masks.encode(ring)}
    truth = (
        TrueObject(1, 0, (40, 60, 220, 220), rle, float(ring.sum())),  # type: ignore[arg-type]
        TrueObject(2, 1, (280, 60, 370, 240), [[280, 60, 370, 60, 370, 240, 280, 240]], 16200.0, crowd=number == 1),
    )
    plate = np.zeros((HEIGHT, WIDTH), bool)
    plate[66:236, 284:366] = True
    weak = [(0, 0.71, ring), (1, 0.29, plate)]
    strong = [(0, 0.93, ring), (1, 0.88, plate), (2, 0.05, plate)]
    models = {"weak": predicted(number, weak), "strong": predicted(number, strong)}
    image, scores = ImageInfo(number, file, WIDTH, HEIGHT), {"weak": 12.4, "strong": 98.6}
    return Example(image, truth, models, predicted(number, strong), GROUPS[number % 3], scores)


def curve(steps: int) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for step in range(1, steps + 1):
        loss = 2 * math.exp(-step / steps) + 0.1 * math.sin(step)
        rows.append({"step": step, "epoch": 1, "lr": 2e-6, "loss": loss, "loss_cls": loss / 3, "loss_mask": loss / 2})
    return [*rows, {"step": steps, "epoch": 1, "AP": 31.4, "AP50": 50.0}]


COST = {"steps": 36000, "seconds": 90.0, "cpu_hours": 0.05, "gpu_hours": 0}


def manifest() -> dict[str, Any]:
    return {
        "command": ["fineseg", "run", "my rooms.toml"],
        "profile": {"competition": {"name": "rooms"}, "combine": {"ensembler": "soft"}, "note": HOSTILE},
        "environment": {
            "python": "3.11.2",
            "platform": "Linux",
            "processor": "x86_64",
            "versions": {"torch": "2.13.0", "ray": None},
            "plugins": {"fineseg-rooms": "0.1.0"},
        },
        "git": {"commit": "4be1d0a6c9", "dirty": True},
        "data": {"root": "data", "splits": {"val": {"images": 1234, "objects": 5678, "digest": "abcdef" * 8}}},
        "trainings": {
            m: {"key": "0123", "folder": f"/store/{m}", "steps": 36000, "seconds": 90.0} for m in ("weak", "strong")
        },
        "predictions": {"weak val": "0456"},
        "work": {"optimizer_steps": 72000, "forward_passes": 2468},
        "cost": {
            "rows": [{"stage": "train", "models": ["weak"], "now": COST, "ever": COST}],
            "now": COST,
            "ever": COST,
        },
        "seconds": {"prepare": 0.4, "train": 180.0, "predict": 61.0},
        "hardware": {"cpus": 2, "memory_gib": 15.6, "gpus": []},
        "started": "2020-07-01T12:00:00+00:00",
    }


def metric(ap: float | None) -> dict[str, dict[str, float | None]]:
    return {"segm": {"AP": ap, "AP50": 61.2, "AP75": 44.4, "APs": None, "APm": 30.0, "APl": 55.5}}


def made_up_run(folder: Path, images: int = 10) -> ReportData:
    """Report data of a made-up run of two models over images that are drawn into a folder."""
    return ReportData(
        title=f"Rooms {HOSTILE}",
        profile="my rooms.toml",
        manifest=manifest(),
        metrics={"models": {"weak": metric(41.26), "strong": metric(45.31)}, "combined": metric(48.02)},
        per_class={
            "weak": (40.0, 42.5, math.nan),
            "strong": (44.0, 46.6, math.nan),
            "combined": (48.0, 46.0, math.nan),
        },
        per_area={
            name: [{"small": 10.0, "large": math.nan}, {"small": math.nan, "large": 51.5}, {}]
            for name in ("weak", "strong", "combined")
        },
        categories=(Category(3, HOSTILE), Category(7, "wardrobe"), Category(9, "lamp")),
        analyses={name: analysis(50.0, classes=3) for name in ("weak", "strong", "combined")},
        curves={"weak": curve(500), "strong": curve(60)},
        examples=[drawn_example(folder, number) for number in range(images)],
        submission=folder / "submission.zip",
    )
