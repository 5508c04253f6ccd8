// Windows of signals, as the service reduces them: fetched as bare numbers, and laid over the whole recording in few points.

import { ask, signalsUrl } from "./api.js";

// Resolves to {rate_hz, unit, start_s, end_s, signals: Map("CH1/raw" → {x: seconds, y: amplitudes, missing})}.
export async function fetchWindow(id, kinds, { start_s: start, end_s: end, points, signal } = {}) {
  const query = kinds.map((kind) => ["kind", kind]);
  if (start !== undefined) {
    query.push(["start_s", start.toFixed(4)], ["end_s", end.toFixed(4)]);
  }
  if (points !== undefined) {
    query.push(["points", points]);
  }
  const response = await ask(signalsUrl(id, query), { headers: { Accept: "application/octet-stream" }, signal });
  const described = JSON.parse(response.headers.get("Emg-Signals"));
  return decoded(described, await response.arrayBuffer());
}

function decoded(described, buffer) {
  const rate = described.sampling_rate_hz;
  const signals = new Map();
  let offset = 0;
  for (const { channel, kind, points, missing } of described.signals) {
    const places = new Float32Array(buffer, offset, points);
    const values = new Float32Array(buffer, offset + 4 * points, points);
    offset += 8 * points;
    const x = Float64Array.from(places, (place) => (described.first_sample + place) / rate);
    signals.set(`${channel}/${kind}`, { x, y: Float64Array.from(values), missing });
  }
  return { start_s: described.first_sample / rate, end_s: described.end_sample / rate, signals };
}

// The overview's points outside of a finer window, and the window's within: whoever moves on sees something at once.
export function laidOver(overview, finer, start_s, end_s) {
  const before = firstAtLeast(overview.x, start_s);
  const after = firstAtLeast(overview.x, end_s);
  return { x: joined(overview.x, finer.x, before, after), y: joined(overview.y, finer.y, before, after) };
}

function joined(coarse, fine, before, after) {
  const whole = new Float64Array(before + fine.length + coarse.length - after);
  whole.set(coarse.subarray(0, before));
  whole.set(fine, before);
  whole.set(coarse.subarray(after), before + fine.length);
  return whole;
}

function firstAtLeast(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}
