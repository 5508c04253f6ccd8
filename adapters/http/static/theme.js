// Colours of plots, from the style sheet: light or dark as the page is.

const DARK = window.matchMedia("(prefers-color-scheme: dark)");

export function colours() {
  const style = window.getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    surface: of("surface"),
    ink: of("ink"),
    soft: of("ink-soft"),
    line: of("line"),
    raw: of("plot-raw"),
    envelope: of("plot-envelope"),
    activated: of("plot-activated"),
    threshold: of("plot-threshold"),
    good: of("plot-good"),
    other: of("plot-other"),
    series: [1, 2, 3, 4].map((place) => of(`plot-series-${place}`)),
  };
}

export function onThemeChange(redraw) {
  DARK.addEventListener("change", redraw);
}
