"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LABEL = 15; // height of a label's letters on the screen [pixels]
  const DEEPEST = 40; // times that a picture can be magnified
  const STEP = 1.5;
  const SWITCHES = { f: "show-fills", o: "show-outlines", l: "show-labels" };
  const gallery = document.querySelector(".gallery");
  const viewer = gallery.querySelector(".viewer");
  const stage = viewer.querySelector(".stage");
  const rows = [...gallery.querySelectorAll(".example")];
  let row = 0;
  let column = 0;
  let view = { x: 0.5, y: 0.5, zoom: 1 }; // what is in the middle, as parts of the picture, and its magnification
  let picture = null;
  let whole = null;

  const figures = (at) => [...rows[at].querySelectorAll("figure")].filter((each) => each.offsetParent);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // the outline of a mask gets a dark line below it, so that it stands out on every ground
  function underline(mask) {
    const line = mask.cloneNode(false);
    line.setAttribute("class", "casing");
    line.removeAttribute("stroke");
    mask.before(line);
  }

  function draw() {
    const shown = figures(row);
    if (!shown.length) return;
    column = clamp(column, 0, shown.length - 1);
    const figure = shown[column];
    picture = figure.querySelector("svg").cloneNode(true);
    whole = picture.viewBox.baseVal;
    whole = { width: whole.width, height: whole.height };
    const photo = document.createElementNS(SVG, "image");
    photo.setAttribute("href", rows[row].querySelector("template").content.firstElementChild.getAttribute("src"));
    photo.setAttribute("width", whole.width);
    photo.setAttribute("height", whole.height);
    photo.setAttribute("preserveAspectRatio", "none");
    picture.querySelector("use").replaceWith(photo);
    picture.querySelectorAll(".mask").forEach(underline);
    stage.replaceChildren(picture);
    const words = figure.querySelector("figcaption").textContent.trim().replace(/\s+/g, " ");
    const name = rows[row].querySelector("h4").firstChild.textContent.trim();
    viewer.querySelector(".where").textContent = `${words} \u2013 ${name} (${row + 1} of ${rows.length})`;
    place();
  }

  function place() {
    const { clientWidth, clientHeight } = stage;
    const fit = Math.min(clientWidth / whole.width, clientHeight / whole.height); // pixels of the screen to a unit
    const scale = fit * view.zoom;
    const seen = { width: clientWidth / scale, height: clientHeight / scale };
    const side = (part, length, shown) =>
      shown >= length ? (length - shown) / 2 : clamp(part * length - shown / 2, 0, length - shown);
    const x = side(view.x, whole.width, seen.width);
    const y = side(view.y, whole.height, seen.height);
    view.x = (x + seen.width / 2) / whole.width;
    view.y = (y + seen.height / 2) / whole.height;
    picture.setAttribute("viewBox", `${x} ${y} ${seen.width} ${seen.height}`);
    const text = picture.querySelector(".label text");
    if (text) picture.style.setProperty("--label", Math.min(1, LABEL / (text.getAttribute("font-size") * scale)));
  }

  // what lies below a point of the screen stays there
  function zoom(factor, point) {
    const box = picture.viewBox.baseVal;
    const frame = stage.getBoundingClientRect();
    const across = point ? (point.clientX - frame.left) / frame.width : 0.5;
    const down = point ? (point.clientY - frame.top) / frame.height : 0.5;
    const [atX, atY] = [box.x + across * box.width, box.y + down * box.height];
    const before = view.zoom;
    view.zoom = clamp(before * factor, 1, DEEPEST);
    const shrink = before / view.zoom;
    view.x = (atX + (0.5 - across) * box.width * shrink) / whole.width;
    view.y = (atY + (0.5 - down) * box.height * shrink) / whole.height;
    place();
  }

  function move(rightwards, downwards) {
    if (downwards) {
      row = clamp(row + downwards, 0, rows.length - 1);
      view = { x: 0.5, y: 0.5, zoom: 1 };
    }
    column = clamp(column + rightwards, 0, figures(row).length - 1);
    draw();
  }

  function press(key) {
    if (key === "ArrowLeft") move(-1, 0);
    else if (key === "ArrowRight") move(1, 0);
    else if (key === "ArrowUp") move(0, -1);
    else if (key === "ArrowDown") move(0, 1);
    else if (key === "+" || key === "=") zoom(STEP);
    else if (key === "-") zoom(1 / STEP);
    else if (key === "0") zoom(0);
    else if (key in SWITCHES) gallery.querySelector(`#${SWITCHES[key]}`).click();
    else if (key === "Escape") viewer.close();
    else return false;
    return true;
  }

  gallery.addEventListener("click", (event) => {
    const button = event.target.closest(".enlarge");
    if (!button) return;
    row = rows.indexOf(button.closest(".example"));
    column = figures(row).indexOf(button.closest("figure"));
    view = { x: 0.5, y: 0.5, zoom: 1 };
    viewer.showModal();
    draw();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (press(event.key)) event.preventDefault();
  });
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("[data-key]");
    if (button) press(button.dataset.key);
  });
  viewer.addEventListener("close", () => {
    stage.replaceChildren();
    figures(row)[column]?.querySelector("button").focus();
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(STEP ** (-Math.sign(event.deltaY) / 2), event);
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => zoom(view.zoom > 1 ? 0 : 4, event));
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    stage.dataset.held = "";
  });
  stage.addEventListener("pointermove", (event) => {
    if (!("held" in stage.dataset)) return;
    const { width, height } = picture.viewBox.baseVal;
    view.x -= (event.movementX * width) / stage.clientWidth / whole.width;
    view.y -= (event.movementY * height) / stage.clientHeight / whole.height;
    place();
  });
  ["pointerup", "pointercancel"].forEach((name) => stage.addEventListener(name, () => delete stage.dataset.held));
  window.addEventListener("resize", () => viewer.open && place());
})();
