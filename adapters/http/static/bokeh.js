// BokehJS, which the page loads beside our modules, and figures in the page's own colours.

import { colours } from "./theme.js";

const FONT = "system-ui, sans-serif";

// Resolves to the library's global as soon as its scripts, which stand in the page's head, have run.
export function bokeh() {
  return new Promise((resolve, reject) => {
    if (window.Bokeh?.Plotting) {
      resolve(window.Bokeh);
      return;
    }
    const scripts = document.querySelectorAll('script[src*="bokeh"]');
    const last = scripts[scripts.length - 1];
    last.addEventListener("load", () => resolve(window.Bokeh));
    scripts.forEach((script) => script.addEventListener("error", () => reject(new Error("BokehJS could not be loaded"))));
  });
}

export function figure(Bokeh, { height, xRange, yRange, xLabel, yLabel, tools = [], xAxisType = "auto" }) {
  const { ink, soft, line } = colours();
  const made = Bokeh.Plotting.figure({
    height, x_range: xRange, y_range: yRange, x_axis_type: xAxisType, x_axis_label: xLabel, y_axis_label: yLabel, tools,
    sizing_mode: "stretch_width", toolbar_location: null, min_border_left: 74, min_border_right: 12, min_border_top: 8,
    background_fill_color: null, border_fill_color: null, outline_line_color: null,
  });
  for (const axis of [...made.xaxes, ...made.yaxes]) {
    Object.assign(axis, {
      axis_label_text_color: ink, axis_label_text_font: FONT, axis_label_text_font_size: "13px", axis_label_text_font_style: "normal",
      major_label_text_color: soft, major_label_text_font: FONT, major_label_text_font_size: "12px",
      axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null,
    });
  }
  made.xaxes[0].ticker.desired_num_ticks = window.matchMedia("(max-width: 40em)").matches ? 4 : 8;
  for (const grid of made.center) {
    grid.grid_line_color = line;
    grid.grid_line_alpha = 0.6;
  }
  return made;
}

// Figures in elements of their own. Shown anew, they take the place of those before, which are then let go of.
export class Shown {
  #page = null;

  // Resolves when the figures are drawn.
  async show(Bokeh, figures, elements) {
    this.#page?.clear();
    this.#page = new Bokeh.Document();
    figures.forEach((made) => this.#page.add_root(made));
    elements.forEach((target) => target.replaceChildren());
    await Bokeh.embed.add_document_standalone(this.#page, elements[0], elements);
    elements.forEach(leaveOutOfTabOrder);
  }
}

// Bokeh makes of each plot a stop of the Tab key that has no name and answers no key. What can be done by keyboard is the figure's around it.
function leaveOutOfTabOrder(root) {
  for (const inner of root.querySelectorAll("*")) {
    if (inner.tabIndex >= 0) {
      inner.tabIndex = -1;
    }
    if (inner.shadowRoot) {
      leaveOutOfTabOrder(inner.shadowRoot);
    }
  }
}
