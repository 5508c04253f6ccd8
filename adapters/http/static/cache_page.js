// How the cache does, as it happens: who answers reads, how far it is from the truth, and what it does when Redis fails.

import { askJson } from "./api.js";
import { bokeh, figure, Shown } from "./bokeh.js";
import { announce, element, facts, heading, replace, table } from "./dom.js";
import { bytes, count, moment, NOTHING, number, percent, plural } from "./format.js";
import { colours, onThemeChange } from "./theme.js";

const LOOK_MS = 2000;
const KEPT = 150;
const STATUS = {
  healthy: { sign: "✓", word: "Healthy", kind: "good" },
  degraded: { sign: "!", word: "Degraded", kind: "warn" },
  unhealthy: { sign: "✕", word: "Not answering", kind: "bad" },
  unknown: { sign: "?", word: "Not known", kind: "unknown" },
};
const TIERS = [
  ["near_hits", "Process memory", "answered from copies that this process keeps for a moment"],
  ["hits", "Redis", "answered from an entry in Redis"],
  ["followed", "Redis, after waiting", "another process was just storing the answer"],
  ["coalesced", "Shared load", "another reader in this process was loading the same"],
  ["misses", "PostgreSQL, and stored", "nothing was cached; the answer was stored for the next reader"],
  ["bypasses", "PostgreSQL, past Redis", "Redis could not be used or was not in step"],
];
const BREAKER = {
  closed: ["Closed", "Redis is asked."],
  open: ["Open", "Redis failed and is not asked for a moment; PostgreSQL answers."],
  half_open: ["Half open", "One read tries whether Redis answers again."],
};

export async function showPage(main) {
  const body = element("div", { class: "stack" });
  const seen = [];
  const charts = new Charts(seen);
  replace(main, element("div", { class: "page-head" }, [
    heading("Cache"),
    element("p", { class: "under" }, "This server process, since it began. Looked at every two seconds."),
  ]), body);
  let status = null;
  let last = null;
  for (;;) {
    const health = await askJson("/health").catch((problem) => ({ problem }));
    if (health.problem && status === null) {
      throw health.problem;
    }
    if (health.problem && status !== "unknown") {
      status = "unknown";
      body.querySelector(".answering").replaceChildren(element("p", { class: "notice", role: "alert" }, `${health.problem.title}. The figures below are those of the last answer.`));
      body.querySelector(".tiles").replaceWith(partsCard(unknown(last)));
    } else if (!health.problem) {
      tell(health);
    }
    await new Promise((resolve) => { window.setTimeout(resolve, LOOK_MS); });
    while (document.visibilityState === "hidden") {
      await new Promise((resolve) => { document.addEventListener("visibilitychange", resolve, { once: true }); });
    }
  }

  function tell({ status: whole, parts }) {
    const cache = parts.cache;
    last = parts;
    if (status !== whole) {
      announce(`The system is ${whole}`);
      status = whole;
    }
    seen.push({ at: Date.now(), redis: cache?.facts.round_trip_ms ?? null, database: parts.database?.facts.answer_ms ?? null, age: cache?.facts.heartbeat_age_s ?? null });
    seen.splice(0, Math.max(0, seen.length - KEPT));
    replace(body, element("div", { class: "answering" }), partsCard(parts), ...(cache ? cacheCards(cache.facts) : [withoutCache()]), charts.card);
    charts.show(cache?.facts.staleness_bound_s ?? null);
    main.dataset.drawn = "true";
  }
}

// The parts while nobody answers for them.
function unknown(parts) {
  return Object.fromEntries(Object.entries(parts).map(([name, { status, facts: told }]) =>
    [name, { status: "unknown", since: null, reason: `${STATUS[status].word} at the last answer`, facts: told }]));
}

function partsCard(parts) {
  return element("section", { class: "tiles", "aria-label": "Parts of the system" }, Object.entries(parts).map(([name, { status, since, reason, facts: told }]) => {
    const { sign, word, kind } = STATUS[status];
    return element("div", { class: "tile" }, [
      element("p", { class: "tile-name" }, name.charAt(0).toUpperCase() + name.slice(1)),
      element("p", { class: `tile-value tile-${kind}` }, [element("span", { "aria-hidden": "true" }, `${sign} `), word]),
      element("p", { class: "tile-note" }, [reason ?? told.server ?? (told.depth === undefined ? "" : `${told.depth} waiting`), since ? ` (since ${moment(since)})` : ""]),
    ]);
  }));
}

function cacheCards(told) {
  const reads = TIERS.reduce((total, [name]) => total + (told[name] ?? 0), 0);
  const [breaker, means] = BREAKER[told.breaker] ?? [told.breaker, ""];
  return [
    element("section", { class: "card", "aria-labelledby": "tiers-title" }, [
      element("div", { class: "card-head" }, [element("h2", { id: "tiers-title" }, "Who answered"), element("p", { class: "big-figure" }, [percent(told.hit_rate), element("span", { class: "under" }, "hit rate")])]),
      reads === 0 ? element("p", { class: "hint" }, ["Nobody has read analytics from this process yet. Open ", element("a", { href: "/" }, "a session"), " and come back."]) : table("Reads by who answered them", [
        { head: "Tier", cell: ([, text, explained]) => [text, element("span", { class: "under" }, explained)] },
        { head: "Reads", number: true, cell: ([name]) => count(told[name] ?? 0) },
        { head: "Share", cell: ([name]) => share((told[name] ?? 0) / reads) },
      ], TIERS, { captionHidden: true }),
    ]),
    element("section", { class: "card", "aria-labelledby": "promise-title" }, [
      element("h2", { id: "promise-title" }, "In step with the truth"),
      facts([
        ["Heartbeat", told.heartbeat_age_s === null ? "none: nothing is read from Redis" : `${number(told.heartbeat_age_s, 2)} s ago, of ${number(told.staleness_bound_s, 2)} s allowed`],
        ["Breaker", `${breaker}. ${means}`],
        ["Stale answers", `${count(told.stale_answers ?? 0)} (only while PostgreSQL fails, and marked)`],
        ["Invalidations", `${count(told.invalidations ?? 0)} acknowledged, ${count(told.invalidations_lost ?? 0)} left to the relay`],
        ["Round trip to Redis", told.round_trip_ms === null ? NOTHING : `${number(told.round_trip_ms, 2)} ms`],
        ["Kept in this process", `${count(told.near_entries)} of ${count(told.near_entries_max)} documents, ${bytes(told.near_bytes)}`],
        ["Stored in Redis", `${plural(told.fills ?? 0, "time")}, for ${number(told.ttl_hours, 3)} hours each, ${bytes(told.bytes_stored ?? 0)} in all`],
      ]),
    ]),
  ];
}

function share(value) {
  return element("span", { class: "share" }, [
    element("meter", { min: "0", max: "1", value: value.toFixed(4), "aria-hidden": "true" }), element("span", {}, percent(value)),
  ]);
}

function withoutCache() {
  return element("section", { class: "card empty" }, [
    element("p", { class: "empty-title" }, "The cache is off"),
    element("p", {}, "Every read is answered by the storage itself. Set CACHE=redis and start the service again to use one."),
  ]);
}

// Latency and staleness over the last minutes. Made once; what is seen is added to their sources.
class Charts {
  constructor(seen) {
    this.seen = seen;
    this.places = [element("div", { class: "plot" }), element("div", { class: "plot" })];
    this.card = element("section", { class: "card", "aria-labelledby": "lately-title" }, [
      element("h2", { id: "lately-title" }, "The last minutes"),
      element("ul", { class: "legend" }, [
        element("li", { class: "legend-note" }, [element("span", { class: "series series-1", "aria-hidden": "true" }, "●"), "Redis, round trip"]),
        element("li", { class: "legend-note" }, [element("span", { class: "series series-2", "aria-hidden": "true" }, "■"), "PostgreSQL, answer"]),
      ]),
      element("figure", { class: "channel-plot", role: "group", "aria-label": "Milliseconds that Redis and PostgreSQL took, over the last minutes" }, this.places[0]),
      element("figure", { class: "channel-plot", role: "group", "aria-label": "Age of the heartbeat over the last minutes, and the bound beyond which nothing is read from Redis" }, this.places[1]),
    ]);
    this.drawn = new Shown();
    this.shown = null;
    onThemeChange(() => { this.shown = null; });
  }

  async show(bound_s) {
    const Bokeh = await bokeh();
    const now = this.seen.at(-1).at;
    const x = this.seen.map(({ at }) => (at - now) / 1000);
    const column = (name) => this.seen.map((look) => look[name] ?? NaN);
    const data = { x, redis: column("redis"), database: column("database"), age: column("age") };
    const begin = Math.min(x[0], -60);
    const slowest = Math.max(1, ...this.seen.map(({ redis, database }) => Math.max(redis ?? 0, database ?? 0))) * 1.15;
    const oldest = Math.max((bound_s ?? 0) * 1.2, ...this.seen.map(({ age }) => age ?? 0));
    if (this.shown === null) {
      this.shown = await this.#make(Bokeh, data, begin, slowest, oldest, bound_s);
    }
    this.shown.source.data = data;
    this.shown.xRanges.forEach((range) => range.setv({ start: begin, end: 1 }));
    this.shown.latency.setv({ end: slowest });
    this.shown.age.setv({ end: oldest });
  }

  async #make(Bokeh, data, start, slowest, oldest, bound_s) {
    const { Models } = Bokeh;
    const { series, threshold, surface } = colours();
    const source = new Models.ColumnDataSource({ data });
    const xRanges = [0, 1].map(() => new Models.Range1d({ start, end: 1 }));
    const latency = new Models.Range1d({ start: 0, end: slowest });
    const age = new Models.Range1d({ start: 0, end: oldest || 1 });
    const first = figure(Bokeh, { height: 200, xRange: xRanges[0], yRange: latency, xLabel: "Before now (s)", yLabel: "Latency (ms)" });
    const second = figure(Bokeh, { height: 180, xRange: xRanges[1], yRange: age, xLabel: "Before now (s)", yLabel: "Heartbeat age (s)" });
    const draw = (made, field, place, marker) => {
      made.line({ field: "x" }, { field }, { source, line_color: series[place], line_width: 2 });
      made.scatter({ field: "x" }, { field }, { source, marker, size: 5, fill_color: series[place], line_color: series[place] });
    };
    draw(first, "redis", 0, "circle");
    draw(first, "database", 1, "square");
    draw(second, "age", 0, "circle");
    if (bound_s !== null) {
      second.add_layout(new Models.Span({ dimension: "width", location: bound_s, line_color: threshold, line_width: 2, line_dash: [7, 4] }));
      second.add_layout(new Models.Label({ x: 6, x_units: "screen", y: bound_s, y_offset: -18, text: `bound, ${number(bound_s, 2)} s`, text_color: threshold, text_font_size: "12px", text_font: "system-ui, sans-serif", background_fill_color: surface, background_fill_alpha: 0.8 }));
    }
    await this.drawn.show(Bokeh, [first, second], this.places);
    return { source, xRanges, latency, age };
  }
}
