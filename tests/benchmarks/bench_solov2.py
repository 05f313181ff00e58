"""Build SOLOv2 at full size, send one 1200 x 1200 room through it, and time what follows the pyramid beside mmdet's.

    python tests/benchmarks/bench_solov2.py                      ResNeXt-101 64x4d, DCN, global context, at 1100 pixels
    python tests/benchmarks/bench_solov2.py --candidates 500     fewer candidates in the comparison

Prints what the whole image takes with score threshold 0, then one row of a markdown table: from feature maps to RLE
with the score threshold that leaves so many candidates, each side in a process of its own. mmdet paints every candidate
at once, so that all of them (threshold 0) are beyond it. Memory is the peak resident set less what was resident before
the call. Weights are random, spread so that masks differ.
"""

import argparse
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "benchmarks")]

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import torch  # noqa: E402
from full_size_models import settle  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.registry import MODELS, DefaultScope  # noqa: E402
from solov2_cases import meta, spread  # noqa: E402

from fineseg import HeadInput  # noqa: E402
from fineseg.catalog import load_catalog  # noqa: E402
from fineseg.data import masks  # noqa: E402
from fineseg.data.coco import read_coco  # noqa: E402
from fineseg.mm.images import read_image  # noqa: E402
from fineseg.mm.model import build_model  # noqa: E402
from fineseg.mm.one_stage import instances_at_once  # noqa: E402
from fineseg.mm.predict import encode_views  # noqa: E402
from fineseg.mm.views import PLAIN, Frame  # noqa: E402
from fineseg.profile.schema import ModelTable, PartChoice, PredictTable  # noqa: E402
from fineseg_datasets.showroom import write_split  # noqa: E402

SIDE, SCALED, PADDED, CLASSES, STRIDES = 1200, 1100, 1120, 34, (4, 8, 16, 32, 64)
PREDICT = PredictTable(long_side=SCALED, short_side=SCALED, score_threshold=0.0)
HEAD = {"update_threshold": 0.0}
GIB = 1 << 30


def whole_image(folder: Path) -> str:
    """Build the detector, predict one room, and leave feature maps and the head's weights in `folder`."""
    torch.manual_seed(0)
    table = ModelTable(
        backbone=PartChoice(name="resnext", depth=101, groups=64, base_width=4, dcn="v1", gc_block=True),
        neck=PartChoice(name="fpn", channels=256),
        head=PartChoice(name="solov2", **HEAD),
    )
    write_split(folder, "room", 1, (SIDE, SIDE), seed=0)
    image = read_coco(folder / "annotations" / "room.json", folder / "images", "room").images[0]
    started = time.monotonic()
    built = build_model(table, load_catalog(warn=print), CLASSES, weights_cache=None)
    building = time.monotonic() - started
    settle(built, image.file)
    spread(built.module.mask_head)
    started = time.monotonic()
    ((features, frame),) = encode_views(built, read_image(image.file), PLAIN.views, PREDICT, torch.device("cpu"))
    encoding = time.monotonic() - started
    found = instances_at_once(built.predictor, features, frame, image.id, PREDICT)
    finding = time.monotonic() - started - encoding
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    filled = int((masks.areas(list(found.masks), SIDE, SIDE) > 0).sum())
    torch.save({"features": list(features), "head": built.module.mask_head.state_dict()}, folder / "drawn.pth")
    millions = sum(weight.numel() for weight in built.module.parameters()) / 1e6
    return (
        f"{millions:.1f} M parameters built in {building:.1f} s; feature maps {encoding:.1f} s, instances "
        f"{finding:.1f} s; peak {peak:.1f} GiB; {len(found)} detections, {filled} masks not empty"
    )


def one_side(who: str, folder: Path, threshold: float) -> dict[str, float]:
    """Go from feature maps to RLE on one side; the result lies in `folder`."""
    part, options = load_catalog(warn=print).choose("head", "solov2", HEAD)
    spec = part.build(options, HeadInput(256, STRIDES, CLASSES))
    with DefaultScope.overwrite_default_scope("mmdet"):
        head: Any = MODELS.build(ConfigDict(spec.detector["mask_head"]))
    drawn = torch.load(folder / "drawn.pth", weights_only=True)
    head.load_state_dict(drawn["head"])
    detector: Any = SimpleNamespace(mask_head=head.eval())
    predictor: Any = spec.predictor(detector)
    frame, features = Frame((SIDE, SIDE), (SCALED, SCALED)), drawn["features"]
    predict = PREDICT.model_copy(update={"score_threshold": threshold})

    def ours() -> tuple[Any, Any, list[bytes]]:
        found = instances_at_once(predictor, features, frame, 1, predict)
        return found.labels, found.scores, list(found.masks)

    def stock() -> tuple[Any, Any, list[bytes]]:
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import encode_mask_results

        head.test_cfg = ConfigDict(
            nms_pre=500, score_thr=threshold, mask_thr=0.5, filter_thr=-1, kernel="gaussian", sigma=2.0, max_per_img=100
        )
        sample = DetDataSample(metainfo=meta((SCALED, SCALED), (SIDE, SIDE), (PADDED, PADDED)))
        (found,) = head.predict(features, [sample])
        counts = [each["counts"] for each in encode_mask_results(found.masks)]
        return found.labels.numpy(), found.scores.numpy(), counts

    before = psutil.Process().memory_info().rss
    started = time.monotonic()
    found = {"ours": ours, "stock": stock}[who]()
    seconds = time.monotonic() - started
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / GIB
    (folder / who).write_bytes(pickle.dumps(found))
    return {"seconds": seconds, "peak": peak}


@torch.no_grad()
def threshold_of(folder: Path, candidates: int) -> float:
    """Return the score threshold that leaves so many candidates."""
    from fineseg_solov2.predictor import peaks

    part, options = load_catalog(warn=print).choose("head", "solov2", HEAD)
    config = part.build(options, HeadInput(256, STRIDES, CLASSES)).detector["mask_head"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        head: Any = MODELS.build(ConfigDict(config)).eval()
    drawn = torch.load(folder / "drawn.pth", weights_only=True)
    head.load_state_dict(drawn["head"])
    scores = torch.cat([peaks(each.sigmoid()).flatten() for each in head(drawn["features"])[1]])
    return float(scores.topk(candidates + 1).values[-1])


def compared(folder: Path) -> str:
    """Return in words how far both results agree; raises where they do not."""
    sides = []
    for who in ("ours", "stock"):
        labels, scores, counts = pickle.loads((folder / who).read_bytes())
        order = np.lexsort((scores, labels))  # two that score alike may change places
        sides.append((labels[order], scores[order], [counts[n] for n in order]))
    (labels, scores, mine), (theirs_labels, theirs_scores, theirs) = sides
    apart = abs(scores - theirs_scores).max()
    assert labels.tolist() == theirs_labels.tolist() and apart < 2e-4, apart  # a pixel that rounds the other way
    pairs = ((masks.decode(a, SIDE, SIDE), masks.decode(b, SIDE, SIDE)) for a, b in zip(mine, theirs, strict=True))
    pixels = sum(int((a != b).sum()) for a, b in pairs)
    assert pixels < 100, pixels
    return f"{len(mine)} instances, scores within {apart:.0e}, {pixels} pixels differ"


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1000, help="candidates of the comparison")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        who, folder, threshold = given.side
        print(json.dumps(one_side(who, Path(folder), float(threshold))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(whole_image(folder), flush=True)
        threshold = threshold_of(folder, given.candidates)
        sides = []
        for who in ("ours", "stock"):
            command = [sys.executable, __file__, "--side", who, name, repr(threshold)]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            sides.append(json.loads(answer.splitlines()[-1]))
        agreement = compared(folder)
    print("| SOLOv2, candidates | ours, s | mmdet, s | ratio | ours, GiB | mmdet, GiB | ratio | agreement |")
    print("|---|---|---|---|---|---|---|---|")
    numbers = (
        f"{a:.2f} | {b:.2f} | {b / a:.1f}" for a, b in ((s["seconds"] for s in sides), (s["peak"] for s in sides))
    )
    print(f"| {given.candidates} | {' | '.join(numbers)} | {agreement} |")


if __name__ == "__main__":
    main()
