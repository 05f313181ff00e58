"""The report page: complete, self-contained, escaped; outlines against the masks they were traced from."""

import base64
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from report_cases import HEIGHT, HOSTILE, WIDTH, curve, drawn_example, ellipse, made_up_run, metric, predicted

from fineseg import Category, FinesegError, ImageInfo, TrueObject
from fineseg.data import masks
from fineseg.report.colours import Stroke, class_colour, model_stroke, text_on
from fineseg.report.figures import line_chart, line_of, running_mean, thin
from fineseg.report.gallery import gallery
from fineseg.report.overlays import LARGE, THUMB, Thing, load_photo, mask_path, on_canvas, shapes, true_things
from fineseg.report.page import SECTIONS, ReportData, write_report
from fineseg.report.sections import best_model, best_of, scores, training_curves, what_ran

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """The elements, links and text of a page; an end tag that closes nothing open is an error."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        self.text += " " if tag in ("td", "th") else ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def values(self, name: str) -> list[str]:
        """Return all values of one attribute."""
        return [value for _, attributes in self.attributes if (value := attributes.get(name)) is not None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """Report data of a made-up run of two models over ten drawn images."""
    return made_up_run(tmp_path_factory.mktemp("rooms"))


@pytest.fixture(scope="module")
def markup(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page written from `data`."""
    path = tmp_path_factory.mktemp("runs") / "new folder" / "report.html"
    assert write_report(path, data) == path
    return path.read_text(encoding="utf-8")


def test_page_is_whole_and_stands_alone(markup: str) -> None:
    page = Page(markup)
    assert page.open == []
    assert page.tags["h1"] == 1 and page.tags["h2"] == 9 <= len(SECTIONS)  # others have nothing to tell
    assert page.tags["script"] == 1  # the gallery's own
    assert len(markup) < 4_000_000
    loaded = [page.values(name) for name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("data:", "#")) for values in loaded for value in values)
    assert not re.search(r"@import|url\((?!#)", markup)


def test_links_lead_somewhere_and_names_are_unique(markup: str) -> None:
    page = Page(markup)
    anchors = Counter(page.values("id"))
    assert [name for name, count in anchors.items() if count > 1] == []
    targets = [*page.values("href"), *page.values("xlink:href"), *re.findall(r"url\((#[^)]*)\)", markup)]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(anchors)
    links = [attributes["href"] for tag, attributes in page.attributes if tag == "a"]
    assert links == [f"#section-{number}" for number in range(1, 10)]


def test_tables_name_their_headers_and_pictures_say_what_they_show(markup: str) -> None:
    page = Page(markup)
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.attributes if tag == "th")
    assert all(attributes.get("aria-label") for _, attributes in page.attributes if attributes.get("role") == "img")
    assert f"strong, room 3.jpg: 2 predictions: {HOSTILE} 0.93, wardrobe 0.88" in page.values("aria-label")


def test_text_from_outside_is_escaped(markup: str) -> None:
    assert "<script>alert" not in markup
    assert f"Rooms {HOSTILE}" in Page(markup).text


def test_other_sections_can_be_added_and_none_is_left_out(data: ReportData, tmp_path: Path) -> None:
    def quality(data: ReportData) -> str:
        return f"<h2 class='x'>Quality &amp; <i>more</i></h2><p>{len(data.categories)} classes</p>"

    path = write_report(tmp_path / "report.html", data, [quality, lambda data: None, lambda data: "<p>bare</p>"])
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags["section"] == 2
    assert page.tags["a"] == 1
    assert page.text.count("Quality & more") == 2
    assert "3 classes" in page.text and "bare" in page.text


# --------------------------------------------------------------------- scores


def test_scores_compare_the_combination_with_the_best_model(data: ReportData) -> None:
    markup = scores(data) or ""
    text = " ".join(Page(markup).text.split())
    assert "Combined, the models reach 48.0 AP: 2.7 points above the best single model, strong, with 45.3." in text
    assert '<td class="best">48.0</td>' in markup
    assert ">30.0</td>" in markup and 'class="best">30.0' not in markup  # a tie of all: none stands out
    dashes = {"table": 1, "By size": 1, "By class": 1, "small": 2, "large": 2}
    assert text.count("\N{EN DASH}") == 3 * sum(dashes.values())  # what has no truth, for three models
    assert '<td class="best"><span class="bar" style="--share:46.6%">46.6</span></td>' in markup


@pytest.mark.parametrize(
    ("combined", "words"),
    [(45.0, "0.3 points below the best"), (45.28, "the same as the best"), (None, "no AP to compare")],
)
def test_verdict_says_what_the_table_shows(data: ReportData, combined: float | None, words: str) -> None:
    assert words in (scores(replace(data, metrics={**data.metrics, "combined": metric(combined)})) or "")


def test_a_run_that_combined_nothing_shows_its_models_alone(data: ReportData) -> None:
    alone = replace(data, manifest={**data.manifest, "profile": {"combine": None}})
    assert "ombined" not in (scores(alone) or "")
    assert "Combined" not in (gallery(alone) or "")


def test_what_stands_out_is_best_as_it_is_printed() -> None:
    assert best_of([17.2335, 13.1, 17.1669]) == [True, False, True]  # both print 17.2
    assert not any(best_of([0.0, 0.04, None]) + best_of([None, 5.0]) + best_of([None, None]) + best_of([]))
    assert best_of([1.0, 2.0, None]) == [False, True, False]


def test_best_model_without_figures() -> None:
    assert best_model({"models": {}}) is None
    assert best_model({"models": {"a": metric(None), "b": metric(1.0)}}) == "b"
    assert best_model({"models": {"a": metric(None)}}) == "a"


# ------------------------------------------------------------ training curves


def test_curves_show_loss_ap_and_learning_rate(data: ReportData) -> None:
    markup = training_curves(data) or ""
    assert re.findall(r"<figcaption>(.*?)</figcaption>", markup) == [
        "Training loss",
        "Validation AP",
        "Learning rate",
        "Loss terms of weak",
        "Loss terms of strong",
    ]
    assert "loss_mask" in markup
    assert "#000000" not in markup  # every stroke and letter follows the page's colours
    assert training_curves(replace(data, curves={"weak": []})) is None


def test_curves_show_what_the_tasks_weighed(data: ReportData) -> None:
    weighed = [
        {"step": step, "loss": 2 - step / 10, "task_weight.instance": 1 / step, "task_weight.end/semantic": step}
        for step in range(1, 40)
    ]
    markup = training_curves(replace(data, curves={"weak": curve(60), "strong": weighed})) or ""
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", markup)
    assert captions[-1] == "Task weights of strong" and len([c for c in captions if "Task weights" in c]) == 1
    assert "Task weights of strong over steps: 1 to 0.02564 at step 39; 1 to 39 at step 39" in markup
    chart = markup[markup.index("Weights of strong") :]
    assert "end/semantic" in chart and "instance" in chart and "task_weight" not in chart
    assert "Training loss over steps" in markup and "1.9 to -1.9 at step 39" in markup


def test_a_negative_loss_is_drawn() -> None:
    """A balanced loss may be below 0: the axis goes as far."""
    rows = [{"step": step, "loss": value} for step, value in enumerate((3.0, 1.0, -2.0, -3.0))]
    markup = training_curves(ReportData("", "", {}, curves={"m": rows})) or ""
    ticks = [
        float(text.replace("\N{MINUS SIGN}", "-")) for text in re.findall(r">(\N{MINUS SIGN}?[\d.]+)</text>", markup)
    ]
    assert min(ticks) <= -2


def test_charts_are_well_formed_and_repeatable() -> None:
    line = line_of(curve(1000), "loss", model_stroke(1), noisy=True)
    assert line is not None and len(line.values) == 1000
    chart = line_chart([line], name="one")
    assert ElementTree.fromstring(chart).tag.endswith("svg")
    assert chart == line_chart([line], name="one")
    assert len(chart) < 30_000


def test_one_step_makes_a_chart() -> None:
    line = line_of([{"step": 1, "loss": 0.0}], "loss", Stroke("#2f7ed8"), noisy=True)
    assert line is not None and "<path" in line_chart([line], name="one")


def test_running_mean_is_the_mean_of_each_window() -> None:
    values = np.random.default_rng(0).normal(size=50)
    expected = [values[max(0, i - 3) : i + 4].mean() for i in range(50)]
    np.testing.assert_allclose(running_mean(values, 7), expected)


def test_thinning_keeps_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=2400)
    assert len(thin(values, 240)) == 240
    np.testing.assert_allclose(thin(values, 240).mean(), values.mean())


# ------------------------------------------------------------------- gallery


def test_a_row_of_the_gallery_is_truth_every_model_and_the_combination(data: ReportData) -> None:
    markup = gallery(data) or ""
    page = Page(markup)
    assert page.tags["article"] == page.tags["image"] == page.tags["template"] == page.tags["img"] == 10
    assert page.tags["use"] == page.tags["button"] - 11 == 40  # the buttons beside pictures are the viewer's
    titles = ["Truth", "weak", "strong", "Combined"]
    assert re.findall(r"<b>(.*?)</b>", markup) == titles * 10
    assert re.findall(r"<h3>(\w+)", markup) == ["Worst", "Best", "Random"]
    assert "The lowest image AP of combined" in page.text
    assert re.findall(r"<figcaption>(.*?)</figcaption>", markup)[1] == "<b>weak</b> AP 12, 1 shown"


def test_each_column_and_each_kind_of_mark_has_a_switch(data: ReportData) -> None:
    markup = gallery(data) or ""
    switches = {value for value in Page(markup).values("id") if value.startswith("show-")}
    assert switches == {f"show-{name}" for name in ("1", "2", "3", "4", "fills", "outlines", "labels")}
    style = (Path(gallery.__code__.co_filename).parent / "page.html.jinja").read_text() + markup
    assert all(f"#{switch}:not(:checked)" in style for switch in switches)
    assert all(f"#{name}" in markup or f'"{name}"' in markup for name in ("show-fills", "show-outlines", "show-labels"))


def test_the_gallery_shows_predictions_from_the_threshold_on(data: ReportData) -> None:
    markup = gallery(data) or ""
    page = Page(markup)
    assert f"{HOSTILE[:17]}… 0.93" in page.text
    assert "from a score of 0.3 on" in page.text
    assert "wardrobe 0.29" not in markup and "lamp 0.05" not in markup
    assert markup.count('class="mask crowd"') == 1
    assert "wardrobe (crowd)" in page.text


def test_an_image_without_prediction_says_so(data: ReportData) -> None:
    bare = replace(data.examples[0], models={}, combined=predicted(0, []), scores={})
    text = Page(gallery(replace(data, examples=[bare])) or "").text
    assert "not predicted" in text and "0 predictions" in text and "AP of an image" not in text
    assert gallery(replace(data, examples=[])) is None


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [(Path.unlink, "no such image"), (lambda file: file.write_text("text"), "cannot be decoded as an image")],
)
def test_an_unreadable_image_is_the_users_fault(
    data: ReportData, tmp_path: Path, spoil: Callable[[Path], Any], fault: str
) -> None:
    example = drawn_example(tmp_path, 4)
    file = example.image.file
    spoil(file)
    with pytest.raises(FinesegError, match=rf"^{re.escape(str(file))}: {fault}; the report shows it as an example$"):
        gallery(replace(data, examples=[example]))


@pytest.mark.parametrize(
    ("size", "canvas"), [((1500, 3000), (800, 1600)), ((600, 1200), (600, 1200)), ((200, 100), (960, 480))]
)
def test_photos_are_scaled_down_and_keep_their_shape(
    tmp_path: Path, size: tuple[int, int], canvas: tuple[int, int]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((*size, 3), 90, np.uint8))
    photo = load_photo(ImageInfo(1, tmp_path / "a.png", size[1], size[0]))
    assert (photo.height, photo.width) == canvas
    for uri, longest in ((photo.thumb, THUMB), (photo.large, LARGE)):
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)
        assert max(pixels.shape) == min(longest, max(size))
        assert pixels.shape[0] * size[1] == pixels.shape[1] * size[0]


def refill(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Fill SVG path data by the even-odd rule, as a browser does."""
    outlines = []
    for start, steps in re.findall(r"M([^l]*)l([^z]*)z", path):
        corners = np.array([start.split(), *np.array(steps.split()).reshape(-1, 2)], np.int32)
        outlines.append(corners.cumsum(axis=0))
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, outlines, 1)
    return canvas.astype(bool)


def test_outline_fills_what_the_mask_covers_and_leaves_holes_open() -> None:
    ring = on_canvas(ellipse((150, 140), (120, 100), hole=0.6) | ellipse((340, 60), (30, 30)), 720, 960)
    filled = refill(mask_path(ring), ring.shape)
    assert (filled & ring).sum() / (filled | ring).sum() > 0.98
    assert not filled[336, 360]  # the ring's middle


def test_a_hairline_survives_scaling() -> None:
    mask = np.zeros((3000, 4000), bool)
    mask[1500, 100:3900] = True
    scaled = on_canvas(mask, 720, 960)
    assert scaled.sum() > 900
    assert on_canvas(np.zeros((3000, 4000), bool), 720, 960).sum() == 0


def test_labels_lie_inside_the_picture_and_apart() -> None:
    rng = np.random.default_rng(0)
    things = []
    for _ in range(40):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        y, x = rng.integers(0, HEIGHT - 20), rng.integers(0, WIDTH - 20)
        mask[y : y + rng.integers(5, 120), x : x + rng.integers(5, 120)] = True
        things.append(Thing(mask, int(rng.integers(40)), "wardrobe", "#2f7ed8", "0.93"))
    drawn = shapes(things, 720, 960)
    labels = [shape.label for shape in drawn if shape.label is not None]
    assert len(drawn) == 40 and 10 < len(labels) <= 40
    cover = np.zeros((720, 960), int)
    for label in labels:
        cover[label.y : label.y + label.height, label.x : label.x + label.width] += 1
    assert cover.max() == 1
    assert cover.sum() == sum(label.width * label.height for label in labels)


def test_truth_reads_every_kind_of_segmentation() -> None:
    square = np.zeros((10, 10), bool)
    square[2:6, 3:9] = True
    run_lengths = np.diff(np.flatnonzero(np.diff(np.r_[0, square.T.reshape(-1), 0])), prepend=0).tolist()
    kinds: list[Any] = [
        [[3, 2, 9, 2, 9, 6, 3, 6]],
        {"size": [10, 10], "counts": masks.encode(square)},
        {"size": [10, 10], "counts": [*run_lengths, 100 - sum(run_lengths)]},
        [],
    ]
    truth = [TrueObject(i, 0, (3, 2, 9, 6), kind, 24.0) for i, kind in enumerate(kinds)]
    things = true_things(ImageInfo(1, Path("a.png"), 10, 10), truth, [Category(1, "bed")])
    assert len(things) == 3
    assert all(np.array_equal(thing.mask, square) for thing in things)


def test_class_colours_differ_and_carry_legible_text() -> None:
    colours = [class_colour(label) for label in range(133)]
    assert len(set(colours)) == 133
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)
    assert text_on("#ffff00") == "#000000" and text_on("#00008b") == "#ffffff"


# ------------------------------------------------------------------- what ran


def test_what_ran_tells_how_to_come_by_the_figures_again(data: ReportData) -> None:
    text = " ".join(Page(what_ran(data) or "").text.split())
    for words in (
        "fineseg run 'my rooms.toml'",
        "4be1d0a6c9, with uncommitted changes",
        "1,234 5,678 abcdefabcdefabcd",
        "weak 36,000 1.5 min /store/weak",
        "72,000 optimizer steps, 2,468 images predicted",
        "train 3:00",
        "torch 2.13.0",
        "ray not installed",
        "fineseg-rooms 0.1.0",
        "GPUs none",
        "Memory 15.6 GiB",
        f"Ready to hand in: {data.submission}",
    ):
        assert words in text


def test_what_ran_of_a_resumed_run_without_git_or_submission(data: ReportData) -> None:
    bare = {**data.manifest, "command": "fineseg run a.toml", "git": None, "work": {"optimizer_steps": 0}}
    text = Page(what_ran(replace(data, manifest=bare, submission=None)) or "").text
    assert "nothing was left to compute" in text
    assert "Git commit" not in text and "hand in" not in text


def test_the_report_of_a_demo_leads_to_the_competition(data: ReportData) -> None:
    for words, wanted in (
        ([], ""),
        (["--variant", "our way", "--set", "train.lr=1"], " --variant 'our way'"),
        (["--out", "here", "--variant=big"], " --variant=big"),
    ):
        demo = {**data.manifest, "command": ["fineseg", "run", "my rooms.toml", "--demo", *words]}
        text = " ".join(Page(what_ran(replace(data, manifest=demo)) or "").text.split())
        assert f"The competition itself: fineseg run 'my rooms.toml'{wanted} Ready" in text
    assert "The competition itself" not in (what_ran(data) or "")
