"""What workers that share a batch compute together: batch norm over all of them, and losses as one worker's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dataset import pseudo_collate
from small_models import MASK_RCNN, small_model
from torch import nn
from worker_pair import WORLD, batches, joint, measure, normed_net, run_worker

from fineseg.catalog import Catalog
from fineseg.data.split import Split
from fineseg.mm.dataset import TrainingImages
from fineseg.mm.model import build_model
from fineseg.mm.training import TrainingJob, _steps_per_epoch
from fineseg.profile.schema import MetricTable, PartChoice, PredictTable, TrainTable


def test_sync_batch_norm_on_cpu_workers_is_batch_norm_on_all_images(tmp_path: Path) -> None:
    torch.manual_seed(1)
    steps = [[torch.randn(1, 3, 9, 8) * 3 + 2, torch.randn(1, 3, 12, 5)] for _ in range(3)]
    torch.multiprocessing.spawn(run_worker, (str(tmp_path), steps), nprocs=WORLD)
    torch.manual_seed(0)
    net = normed_net(nn.BatchNorm2d)
    expected = measure(net, steps)
    expected["in eval"] = net.eval()(steps[0][0])
    for rank in range(WORLD):
        found = torch.load(tmp_path / str(rank))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            value = value / WORLD if name.startswith("gradient") else value  # DDP takes the mean of the workers' losses
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_one_process_that_stands_for_two_normalises_over_all_pixels() -> None:
    norm = nn.BatchNorm2d(3)
    images = [torch.randn(1, 3, 4, 6), torch.randn(1, 3, 2, 6)]
    found = torch.cat([each.flatten(2) for each in joint(nn.Sequential(norm), images)], dim=2)
    assert found.mean(dim=2).abs().max() < 1e-6 and (found.var(dim=2, correction=0) - 1).abs().max() < 1e-3


@pytest.mark.parametrize(("images", "batch", "workers"), [(12, 8, 1), (12, 8, 2), (13, 8, 2), (13, 8, 4), (3, 8, 4)])
def test_workers_see_every_image_and_count_the_same_steps(rooms: Split, images: int, batch: int, workers: int) -> None:
    """The sets of images that share a step are those of one worker, but for repetitions in the last."""
    dealt = [batches(images, 5, batch, rank, workers, epoch=2) for rank in range(workers)]
    alone = batches(images, 5, batch, 0, 1, epoch=2)
    train = TrainTable(epochs=1, lr=1, batch=batch, workers=workers)
    job = TrainingJob(small_model(), train, PredictTable(), MetricTable(), rooms, rooms, Path(), Path(), world=workers)
    assert {len(worker) for worker in dealt} == {_steps_per_epoch(images, job)} == {len(alone)}
    for step, wanted in enumerate(alone):
        together = [image for worker in dealt for image in worker[step]]
        assert set(together) - set(alone[0]) <= set(wanted) <= set(together)
        assert len(together) - len(wanted) < workers
        assert len({len(worker[step]) for worker in dealt}) == 1


def test_the_mean_of_workers_losses_is_one_workers_but_for_masks(
    rooms: Split, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses over sampled anchors and RoIs: every image has as many. Mask losses: a mean over each worker's own."""
    from mmdet.models.task_modules.samplers import RandomSampler

    def first(self: Any, gallery: torch.Tensor, number: int) -> torch.Tensor:
        return gallery[:number]

    monkeypatch.setattr(RandomSampler, "random_choice", first)
    torch.manual_seed(0)
    head = PartChoice(name="mask-rcnn", **MASK_RCNN | {"box": {"width": 32, "samples": 64}})
    model = small_model().model_copy(update={"head": head})
    module = build_model(model, catalog, len(rooms.categories), weights_cache=None).module.train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    positives: list[int] = []
    loss = module.roi_head.mask_loss

    def counted(x: Any, sampling_results: Any, *rest: Any) -> Any:
        positives.append(sum(len(result.pos_priors) for result in sampling_results))
        return loss(x, sampling_results, *rest)

    monkeypatch.setattr(module.roi_head, "mask_loss", counted)
    images = TrainingImages(rooms, TrainTable(epochs=1, lr=1, long_side=96, short_side=(80, 80), flip=0))

    def losses(numbers: list[int]) -> dict[str, float]:
        data = module.data_preprocessor(pseudo_collate([images[n] for n in numbers]), True)
        found = module(**data, mode="loss")
        return {n: float(sum(v) if isinstance(v, list) else v) for n, v in found.items() if n.startswith("loss")}

    whole, halves = losses([0, 1, 2, 3]), [losses([0, 1]), losses([2, 3])]
    total, first_half, second_half = positives
    assert total == first_half + second_half and first_half != second_half
    for name in ("loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"):
        assert whole[name] == pytest.approx(sum(half[name] for half in halves) / WORLD, rel=1e-4), name
    by_count = (halves[0]["loss_mask"] * first_half + halves[1]["loss_mask"] * second_half) / total
    assert whole["loss_mask"] == pytest.approx(by_count, rel=1e-4)
    assert whole["loss_mask"] != pytest.approx(sum(half["loss_mask"] for half in halves) / WORLD, rel=1e-4)
