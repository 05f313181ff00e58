"""Every hook, on one page. A plugin implements those it needs and yields frozen records.

    from fineseg import Ensembler, hookimpl

    @hookimpl
    def fineseg_ensemblers():
        yield Ensembler("best-of", "keeps the best model's instances", BestOfOptions, build=best_of)

The plugin's module (light: no torch, mmdet or ray at import) is named in its distribution's entry points:

    [project.entry-points.fineseg]
    best-of = "fineseg_best_of.plugin"
"""

from collections.abc import Iterable

import pluggy

from fineseg.parts import TTA, Backbone, Dataset, Ensembler, Head, Loss, Neck, PanopticFuser, Submission, TaskBalancer

PROJECT = "fineseg"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def fineseg_backbones() -> Iterable[Backbone]:
    """Feature extractors. `yield Backbone("resnet", "ResNet 18-152", ResNetOptions, build=build_resnet)`."""
    return ()


@hookspec
def fineseg_necks() -> Iterable[Neck]:
    """Necks between backbone and head. `yield Neck("fpn", "feature pyramid", FPNOptions, build=build_fpn)`."""
    return ()


@hookspec
def fineseg_heads() -> Iterable[Head]:
    """Detector recipes. `yield Head("mask-rcnn", "Mask R-CNN", MaskRCNNOptions, build=build_mask_rcnn)`."""
    return ()


@hookspec
def fineseg_losses() -> Iterable[Loss]:
    """What heads learn from. `yield Loss("dice", "overlap", DiceOptions, build=build_dice, serves=("mask",))`."""
    return ()


@hookspec
def fineseg_task_balancers() -> Iterable[TaskBalancer]:
    """What the tasks of a training weigh. `yield TaskBalancer("my-weights", "...", WeightsOptions, build=weigh)`."""
    return ()


@hookspec
def fineseg_tta() -> Iterable[TTA]:
    """Ways of looking at an image more than once. `yield TTA("flip", "mirrored too", FlipOptions, build=flip)`."""
    return ()


@hookspec
def fineseg_ensemblers() -> Iterable[Ensembler]:
    """Several models' instances into one. `yield Ensembler("best-of", "...", BestOfOptions, build=best_of)`."""
    return ()


@hookspec
def fineseg_panoptic_fusers() -> Iterable[PanopticFuser]:
    """Instances and semantics into one map. `yield PanopticFuser("my-rule", "...", RuleOptions, build=build_rule)`."""
    return ()


@hookspec
def fineseg_datasets() -> Iterable[Dataset]:
    """Data sets and formats. `yield Dataset("coco-instance", "...", CocoOptions, read=read_coco)`."""
    return ()


@hookspec
def fineseg_submissions() -> Iterable[Submission]:
    """Submission formats. `yield Submission("my-zip", "...", ZipOptions, write=write_zip, check=check_zip)`."""
    return ()


HOOK_OF_KIND = {
    "backbone": "fineseg_backbones",
    "neck": "fineseg_necks",
    "head": "fineseg_heads",
    "loss": "fineseg_losses",
    "task-balancer": "fineseg_task_balancers",
    "tta": "fineseg_tta",
    "ensembler": "fineseg_ensemblers",
    "panoptic-fuser": "fineseg_panoptic_fusers",
    "dataset": "fineseg_datasets",
    "submission": "fineseg_submissions",
}
