// Figures and moments as people read them. What cannot be computed is a dash, never a zero.

export const NOTHING = "–";

const LOCALE = "en-GB";
const WHOLE = new Intl.NumberFormat(LOCALE);
const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const PREFIXES = { 3: "k", 0: "", [-3]: "m", [-6]: "µ", [-9]: "n" };
const VOLTS = { V: 0, mV: -3, uV: -6, "µV": -6, nV: -9 };

export function number(value, digits = 3) {
  if (value === null || value === undefined) {
    return NOTHING;
  }
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${mantissa.replace("-", "−")} × 10${superscript(Number(exponent))}`;
  }
  const shown = Math.max(digits, Math.ceil(Math.log10(Math.abs(value) + 1)));
  const least = Number.isInteger(value) ? 1 : digits; // 1.10 among others of three digits, but 5 where there are five.
  return new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: shown, minimumSignificantDigits: least }).format(value).replace("-", "−");
}

export function count(value) {
  return value === null || value === undefined ? NOTHING : WHOLE.format(value);
}

export function percent(value) {
  return value === null || value === undefined ? NOTHING : `${number(100 * value, 3)} %`;
}

export function seconds(value, digits = 1) {
  return value === null || value === undefined ? NOTHING : `${value.toFixed(digits)} s`;
}

export function duration(value_s) {
  if (value_s === null || value_s === undefined) {
    return NOTHING;
  }
  const whole = Math.round(value_s);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
}

export function milliseconds(value_ms) {
  return value_ms === null || value_ms === undefined ? NOTHING : `${WHOLE.format(Math.round(value_ms))} ms`;
}

export function bytes(value) {
  if (value === null || value === undefined) {
    return NOTHING;
  }
  const units = ["bytes", "kB", "MB", "GB"];
  let place = 0;
  let size = value;
  while (size >= 1000 && place < units.length - 1) {
    size /= 1000;
    place += 1;
  }
  return `${number(size, 3)} ${units[place]}`;
}

// A local time without a zone, as recordings have it, is shown with the digits that it has.
export function localMoment(text) {
  return text === null || text === undefined ? NOTHING : moment(text.replace(/Z?$/, "Z"), "UTC");
}

export function moment(text, timeZone) {
  return text === null || text === undefined ? NOTHING
    : new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short", timeZone }).format(new Date(text));
}

export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

// One unit for all amplitudes of a page, so that figures can be compared: volts get a prefix, and where the recording declares no unit a
// power of ten is set before the figures. `factor` makes shown figures of stored ones.
export function amplitudes(largest, unit) {
  const exponent = largest > 0 ? 3 * Math.floor(Math.log10(largest) / 3) : 0;
  if (unit in VOLTS) {
    const shown = Math.min(3, Math.max(-9, exponent + VOLTS[unit]));
    return { factor: 10 ** (VOLTS[unit] - shown), label: `${PREFIXES[shown]}V`, declared: true };
  }
  const label = exponent === 0 ? (unit ?? "") : `10${superscript(exponent)}${unit ? ` ${unit}` : ""}`;
  return { factor: 10 ** -exponent, label, declared: unit !== null };
}

function superscript(value) {
  return String(value).split("").map((character) => SUPERSCRIPTS[character]).join("");
}
