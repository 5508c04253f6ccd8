// Elements, made from values. Texts are always texts: nothing that somebody sent becomes markup.

export function element(name, attributes = {}, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) {
      continue;
    }
    if (key.startsWith("on")) {
      made.addEventListener(key.slice(2), value);
    } else if (value === true) {
      made.setAttribute(key, "");
    } else {
      made.setAttribute(key, String(value));
    }
  }
  made.append(...(Array.isArray(children) ? children : [children]).flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export function replace(parent, ...children) {
  parent.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

// Tells people who hear the page what people who see it see. The same text twice is told twice.
export function announce(text) {
  const region = document.getElementById("announcements");
  region.textContent = "";
  window.setTimeout(() => { region.textContent = text; }, 50);
}

export function heading(page) {
  document.title = `${page} · Emg-Sessions`;
  return element("h1", {}, page);
}

export function badge(text, kind, title) {
  return element("span", { class: `badge badge-${kind}`, title }, text);
}

export function facts(pairs) {
  return element("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) =>
    element("div", {}, [element("dt", {}, name), element("dd", {}, value)])));
}

// A table: columns are {head, note, cell(row), number}, the note being what the head alone does not say; on a phone each row is a card, and each cell says its head.
export function table(caption, columns, rows, { rowHeader = 0, captionHidden = false } = {}) {
  const head = element("tr", {}, columns.map(({ head: text, note, number, headHidden }) =>
    element("th", { scope: "col", class: number ? "number" : null },
      headHidden ? element("span", { class: "visually-hidden" }, text) : [text, note ? element("span", { class: "under" }, note) : null])));
  const body = rows.map((row) => element("tr", {}, columns.map(({ head: text, note, cell, number, headHidden }, place) =>
    element(place === rowHeader ? "th" : "td", {
      scope: place === rowHeader ? "row" : null,
      class: number ? "number" : null,
      "data-head": headHidden ? null : note ? `${text}, ${note}` : text,
    }, cell(row)))));
  return element("table", {}, [
    element("caption", { class: captionHidden ? "visually-hidden" : null }, caption),
    element("thead", {}, head),
    element("tbody", {}, body),
  ]);
}

export function scrollable(label, inner) {
  return element("div", { class: "scrollable", role: "region", "aria-label": label, tabindex: "0" }, inner);
}
