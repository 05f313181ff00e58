"""The section of a report that says what its words mean, for those who meet them for the first time."""

from fineseg.report.records import ReportData
from fineseg.report.templates import render_section

WORDS = {
    "held-out split": "images that no model has learnt from; all scores on this page are of them",
    "IoU": "intersection over union of two masks: the part of all they cover that both cover, 1 where they are alike",
    "precision, recall": "how many of the detections are right, how many of the true objects are found",
    "AP": "average precision: the mean of the precision over all recalls, of the classes and of ten IoUs, .50 to .95, "
    "from which on a detection counts as right; AP50 and AP75 are those of one IoU; 100 is perfect",
    "score": "how sure a model is of a detection, 0 to 1",
}
PANOPTIC_WORDS = {
    "things, stuff": "what can be counted, as chairs, each a segment; what cannot, as wall, one segment a picture",
    "map": "a picture in which each pixel belongs to one segment or to none, which is void",
    "PQ": "panoptic quality, SQ x RQ: in each class, true and predicted segments with an IoU above .50 match; then the "
    "mean of the classes; 100 is perfect",
    "SQ, RQ": "segmentation quality, the mean IoU of segments that match; recognition quality, how many match: the "
    "harmonic mean of precision and recall",
    "mIoU": "the IoU of the pixels that a class has and those that it is given, mean over the classes",
    "fuser": "what makes one map of the objects and pixels of several models",
}


def words(data: ReportData) -> str | None:
    """Return the section of words, or None on a page without scores."""
    if not data.metrics["models"]:
        return None
    return render_section("words", "words.html.jinja", words={**(PANOPTIC_WORDS if data.class_pq else {}), **WORDS})
