// What stands around the plots: a legend that chooses what is drawn, buttons and keys that move, and a place for each channel.

import { announce, element } from "./dom.js";
import { sentence } from "./api.js";
import { followFingers } from "./fingers.js";
import { described, isTouched, windowText } from "./signal_plots.js";

const CHOICES = [
  ["raw", "Raw"],
  ["envelope", "Envelope"],
  ["activated", "Activity signal"],
  ["contractions", "Contractions"],
];
const STEP = 0.5;
const FULL_HEIGHT = "Show every peak whole, however high";
const KEYS = {
  ArrowLeft: (view) => view.move(-STEP / 2),
  ArrowRight: (view) => view.move(STEP / 2),
  "+": (view) => view.zoom(STEP),
  "=": (view) => view.zoom(STEP),
  "-": (view) => view.zoom(1 / STEP),
  0: (view) => view.showAll(),
};

export function signalControls({ channels, view, scale, shown, choose, showFullHeight }) {
  const now = { ...shown };
  const said = element("output", { class: "window-text" }, windowText(view));
  const trouble = element("p", { class: "field-problem", role: "alert" });
  const places = channels.map(() => element("div", { class: "plot" }));
  places.forEach((place) => followFingers(place, view));
  const fullHeight = element("button", {
    type: "button", class: "button button-small button-quiet", "aria-pressed": "false", hidden: true, title: FULL_HEIGHT,
    onclick: () => {
      const full = fullHeight.getAttribute("aria-pressed") !== "true";
      fullHeight.setAttribute("aria-pressed", String(full));
      showFullHeight(full);
    },
  }, "Full height");
  const cutHint = element("p", { class: "hint", hidden: true }, "A few peaks are much higher than all the rest and are cut off; “Full height” shows them whole.");
  view.listeners.add(() => {
    said.textContent = windowText(view);
    window.clearTimeout(said.telling);
    said.telling = window.setTimeout(() => announce(`Showing ${windowText(view)}`), 600);
  });
  const busy = element("span", { class: "fetching", hidden: true }, "loading finer …");

  const legend = element("fieldset", { class: "legend" }, [
    element("legend", { class: "visually-hidden" }, "What is drawn"),
    ...CHOICES.map(([kind, text]) => element("label", { class: "legend-item" }, [
      element("input", { type: "checkbox", name: kind, checked: now[kind], onchange: async (event) => {
        now[kind] = event.target.checked;
        await choose({ ...now }).catch((problem) => fetching(false, problem));
      } }),
      kind === "contractions" ? null : element("span", { class: `swatch swatch-${kind}`, "aria-hidden": "true" }), text,
    ])),
    element("span", { class: "legend-note" }, [element("span", { class: "swatch swatch-good", "aria-hidden": "true" }, "✓"), "good"]),
    element("span", { class: "legend-note" }, [element("span", { class: "swatch swatch-other", "aria-hidden": "true" }), "not good"]),
    element("span", { class: "legend-note" }, [element("span", { class: "swatch swatch-threshold", "aria-hidden": "true" }), "threshold"]),
  ]);
  const buttons = element("div", { class: "view-buttons", role: "group", "aria-label": "Move through the recording" }, [
    button("◀", "Earlier", () => view.move(-STEP)),
    button("▶", "Later", () => view.move(STEP)),
    button("+", "Zoom in", () => view.zoom(STEP)),
    button("−", "Zoom out", () => view.zoom(1 / STEP)),
    element("button", { type: "button", class: "button button-small button-quiet", onclick: () => view.showAll() }, "Whole recording"),
    fullHeight,
  ]);
  const whole = element("div", { class: "signal-plots" }, [
    element("div", { class: "signal-bar" }, [legend, element("div", { class: "view-bar" }, [buttons, said, busy])]),
    trouble,
    ...channels.map((channel, place) => element("figure", {
      class: "channel-plot", tabindex: "0", role: "group", "aria-label": `${described(channel)} Arrow keys move, plus and minus zoom, 0 shows all.`,
      onkeydown: pressed,
    }, [element("figcaption", {}, channel.name), places[place]])),
    element("p", { class: "hint" }, [
      isTouched() ? "Move with one finger, zoom with two; the buttons above do the same. " : "Drag over a plot to zoom into a stretch; Ctrl and the mouse wheel zoom, too. ",
      scale.declared ? null : "The recording declares no unit, so amplitudes are in its own.",
    ]),
    cutHint,
  ]);
  return { whole, places, fetching, cutting };

  function cutting(isCut) {
    fullHeight.hidden = !isCut;
    cutHint.hidden = !isCut || fullHeight.getAttribute("aria-pressed") === "true";
  }

  function fetching(isFetching, problem = null) {
    busy.hidden = !isFetching;
    trouble.textContent = problem === null ? "" : `Finer signals could not be loaded. ${sentence(problem.detail ?? problem.message)}`;
  }

  function pressed(event) {
    const act = KEYS[event.key];
    if (act && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      act(view);
    }
  }
}

function button(sign, text, onclick) {
  return element("button", { type: "button", class: "button button-small button-quiet", "aria-label": text, title: text, onclick }, sign);
}
