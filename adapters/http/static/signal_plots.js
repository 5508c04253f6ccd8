// The plots of a session: of each channel its signals, its contractions shaded, and its threshold as a line.

import { bokeh, figure, Shown } from "./bokeh.js";
import { milliseconds, number, seconds } from "./format.js";
import { fetchWindow, laidOver } from "./signal_window.js";
import { colours, onThemeChange } from "./theme.js";

const HEIGHT = 260;
const HEIGHT_PHONE = 220;
const SETTLED_MS = 120;
const POINTS_ANSWER_MAX = 8000;
const POINTS_MIN = 4;
// The y axis is for this share of a signal's points, which are the least and the greatest of their stretches, with some room above. It is
// cut there only if the highest peak would take half as much again.
const USUAL = 0.99;
const HEADROOM = 1.15;
const CUT_FROM = 1.5;
const LINES = { raw: 1, activated: 1.5, envelope: 2 };

export class SignalPlots {
  // `shown`: which of raw, envelope, activated and contractions are drawn. `scale`: of format.amplitudes.
  constructor({ id, channels, places, view, shown, scale, overview, onFetching, onCutting }) {
    Object.assign(this, { id, channels, places, view, shown, scale, overview, onFetching, onCutting });
    this.fullHeight = false;
    this.finer = null;
    this.plots = [];
    this.drawn = new Shown();
    this.asked = null;
    view.listeners.add(() => this.#moved());
    onThemeChange(() => this.draw());
  }

  async draw() {
    const Bokeh = await bokeh();
    this.plots = this.channels.map((channel) => this.#plot(Bokeh, channel));
    await this.drawn.show(Bokeh, this.plots.map(({ made }) => made), this.places);
    this.plots.forEach((plot) => this.#follow(plot));
    this.onCutting(this.plots.some(({ cut }) => cut));
  }

  // Every peak whole, or as high as most need it.
  async showFullHeight(full) {
    this.fullHeight = full;
    await this.draw();
  }

  // Another choice of what is drawn; signals that were not fetched yet are.
  async choose(shown) {
    const missing = kindsOf(shown).filter((kind) => !kindsOf(this.shown).includes(kind) && !this.#has(kind));
    this.shown = shown;
    if (missing.length > 0) {
      const fetched = await this.#fetched(missing, {});
      fetched.signals.forEach((signal, key) => this.overview.signals.set(key, signal));
    }
    this.finer = null;
    await this.draw();
    this.#moved();
  }

  #has(kind) {
    return this.channels.some(({ name }) => this.overview.signals.has(`${name}/${kind}`));
  }

  #plot(Bokeh, channel) {
    const { Models } = Bokeh;
    const palette = colours();
    const { factor, label } = this.scale;
    const xRange = new Models.Range1d({ start: this.view.start_s, end: this.view.end_s });
    const { low, high, cut } = this.#extent(channel);
    const made = figure(Bokeh, {
      height: isNarrow() ? HEIGHT_PHONE : HEIGHT,
      xRange, yRange: new Models.Range1d({ start: low, end: high }), xLabel: "Time (s)", yLabel: label ? `Amplitude (${label})` : "Amplitude",
      tools: tools(Models),
    });
    if (this.shown.contractions) {
      shade(Bokeh, made, channel, palette, high, factor);
    }
    const sources = new Map();
    for (const kind of kindsOf(this.shown)) {
      const source = new Models.ColumnDataSource({ data: this.#points(`${channel.name}/${kind}`) });
      made.line({ field: "x" }, { field: "y" }, { source, line_color: palette[kind], line_width: LINES[kind], line_join: "round" });
      sources.set(kind, source);
    }
    drawThreshold(Bokeh, made, channel, palette, factor);
    return { made, channel, sources, xRange, cut };
  }

  // What the y axis spans. A few artefacts of a raw signal would make all else small, so what most of it needs is enough: but the threshold
  // and every contraction's envelope are always within.
  #extent({ name, mvc, contractions }) {
    const { factor } = this.scale;
    const needed = Math.max(mvc.threshold ?? 0, contractions.max_amplitude ?? 0);
    let lowest = 0;
    let highest = needed;
    let usual = needed;
    for (const kind of kindsOf(this.shown)) {
      const heights = Float64Array.from(this.overview.signals.get(`${name}/${kind}`)?.y ?? []);
      lowest = heights.reduce((least, value) => Math.min(least, value), lowest);
      highest = heights.reduce((greatest, value) => Math.max(greatest, value), highest);
      usual = Math.max(usual, quantile(heights.map(Math.abs), USUAL) * HEADROOM);
    }
    const cut = usual > 0 && Math.max(highest, -lowest) > usual * CUT_FROM;
    if (cut && !this.fullHeight) {
      lowest = Math.max(lowest, -usual);
      highest = Math.min(highest, usual);
    }
    const margin = (highest - lowest || 1) * 0.08;
    return { low: (lowest < 0 ? lowest - margin : 0) * factor, high: (highest + margin) * factor, cut };
  }

  #points(key) {
    const coarse = this.overview.signals.get(key) ?? { x: new Float64Array(0), y: new Float64Array(0) };
    const fine = this.finer?.signals.get(key);
    const { x, y } = fine ? laidOver(coarse, fine, this.finer.start_s, this.finer.end_s) : coarse;
    return { x, y: y.map((value) => value * this.scale.factor) };
  }

  // A plot that is dragged or zoomed moves the view, and the view moves the other plots.
  #follow({ xRange }) {
    const told = () => {
      if (this.moving) {
        return;
      }
      this.view.show(xRange.start, xRange.end);
      this.#align();
    };
    for (const property of [xRange.properties.start, xRange.properties.end]) {
      property.change.connect(told);
    }
  }

  #moved() {
    this.#align();
    window.clearTimeout(this.settling);
    this.settling = window.setTimeout(() => this.#refine(), SETTLED_MS);
  }

  #align() {
    this.moving = true;
    for (const { xRange } of this.plots) {
      xRange.setv({ start: this.view.start_s, end: this.view.end_s });
    }
    this.moving = false;
  }

  // Fetches what the window shows in as many points as the screen has, and some more to both sides, for whoever moves on.
  async #refine() {
    this.asked?.abort();
    if (this.view.isWhole) {
      this.finer = null;
      this.#update();
      return;
    }
    const { start_s: start, end_s: end, length_s: length, duration_s: duration } = this.view;
    if (this.finer?.view_length_s === length && this.finer.start_s <= start && this.finer.end_s >= end) {
      return;
    }
    this.asked = new AbortController();
    this.onFetching(true);
    try {
      const from = Math.max(0, start - length / 2);
      const to = Math.min(duration, end + length / 2);
      const finer = await this.#fetched(kindsOf(this.shown), { start_s: from, end_s: to, signal: this.asked.signal });
      this.finer = { ...finer, view_length_s: length };
      this.#update();
      this.onFetching(false);
    } catch (error) {
      if (error.name !== "AbortError") {
        this.onFetching(false, error);
      }
    }
  }

  #fetched(kinds, window_s) {
    const signals = Math.max(1, this.channels.length * kinds.length);
    const points = Math.max(POINTS_MIN, Math.min(2000, Math.floor(POINTS_ANSWER_MAX / signals)));
    return fetchWindow(this.id, kinds, { ...window_s, points });
  }

  #update() {
    for (const { channel, sources } of this.plots) {
      sources.forEach((source, kind) => { source.data = this.#points(`${channel.name}/${kind}`); });
    }
  }
}

const isNarrow = () => window.matchMedia("(max-width: 40em)").matches;
export const isTouched = () => window.matchMedia("(pointer: coarse)").matches;

function kindsOf(shown) {
  return ["raw", "activated", "envelope"].filter((kind) => shown[kind]);
}

function quantile(values, share) {
  const sorted = values.filter(Number.isFinite).sort();
  return sorted.length === 0 ? 0 : sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

// By mouse: a drag chooses a stretch, with Shift it moves; Ctrl and the wheel (two fingers on a touchpad) zoom. By touch: fingers.js.
function tools(Models) {
  if (isTouched()) {
    return [];
  }
  return [
    new Models.BoxZoomTool({ dimensions: "width" }),
    new Models.WheelZoomTool({ dimensions: "width", modifiers: { ctrl: true } }),
  ];
}

function shade(Bokeh, made, channel, palette, high, factor) {
  const { Models } = Bokeh;
  const numbered = channel.contractions.items.map((item, place) => ({ ...item, number: place + 1 }));
  const looks = [
    { items: numbered.filter(({ is_good: good }) => good), fill: palette.good, alpha: 0.22, hatch: " ", said: "good" },
    { items: numbered.filter(({ is_good: good }) => !good), fill: palette.other, alpha: 0.08, hatch: "/", said: "not good" },
  ];
  for (const { items, fill, alpha, hatch, said } of looks) {
    const source = new Models.ColumnDataSource({
      data: {
        x0: items.map(({ start_ms: ms }) => ms / 1000),
        x1: items.map(({ end_ms: ms }) => ms / 1000),
      },
    });
    made.vstrip({ field: "x0" }, { field: "x1" }, {
      source, fill_color: fill, fill_alpha: alpha, line_color: fill, line_alpha: 0.7, line_width: 1,
      hatch_pattern: hatch, hatch_color: fill, hatch_alpha: 0.45, hatch_scale: 9, hatch_weight: 1, name: said,
    });
  }
  const good = looks[0].items;
  made.text({ field: "x" }, { field: "y" }, { field: "text" }, {
    source: new Models.ColumnDataSource({
      data: { x: good.map(({ start_ms: from, end_ms: to }) => (from + to) / 2000), y: good.map(() => high), text: good.map(() => "✓") },
    }),
    text_align: "center", text_baseline: "top", text_color: palette.good, text_font_size: "13px", text_font_style: "bold", y_offset: 2,
  });
}

function drawThreshold(Bokeh, made, { mvc }, palette, factor) {
  if (mvc.threshold === null) {
    return;
  }
  const { Models } = Bokeh;
  const at = mvc.threshold * factor;
  const source = mvc.source !== "estimated" ? "MVC" : isNarrow() ? "est. MVC" : "estimated MVC";
  made.add_layout(new Models.Span({ dimension: "width", location: at, line_color: palette.threshold, line_width: 2, line_dash: [7, 4] }));
  made.add_layout(new Models.Label({
    x: 6, x_units: "screen", y: at, y_offset: 3, text: `${number(mvc.threshold_percent)} % of ${source}`,
    text_color: palette.threshold, text_font_size: "12px", text_font_style: "bold", text_font: "system-ui, sans-serif",
    background_fill_color: palette.surface, background_fill_alpha: 0.8, padding: 2,
  }));
}

// What a plot shows, in words, for people who do not see it.
export function described({ name, contractions, mvc }) {
  const { count, good } = contractions;
  const longest = contractions.max_duration_ms === null ? "" : `, the longest ${milliseconds(contractions.max_duration_ms)}`;
  return `${name}: ${count} contractions, ${good} of them good${longest}. MVC ${mvc.source}.`;
}

export function windowText(view) {
  return view.isWhole ? `whole recording, ${seconds(view.duration_s)}` : `${view.start_s.toFixed(2)} to ${seconds(view.end_s, 2)}`;
}

