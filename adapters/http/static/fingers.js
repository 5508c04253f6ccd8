// Fingers on a plot: one moves along the recording, two stretch it. Up and down the page scrolls, for which the style sheet of plots says
// that the browser takes those movements for itself.

// What stands left and right of a plot's frame, in pixels: axis and border (bokeh.js).
const LEFT = 74;
const RIGHT = 12;

export function followFingers(place, view) {
  const fingers = new Map();

  place.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" && fingers.size < 2) {
      fingers.set(event.pointerId, shareAt(event));
    }
  });
  place.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) {
      return;
    }
    const before = [...fingers.values()];
    fingers.set(event.pointerId, shareAt(event));
    const { start_s, end_s } = moved(view, before, [...fingers.values()]);
    view.show(start_s, end_s);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    window.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }

  function shareAt(event) {
    const { left, width } = place.getBoundingClientRect();
    return (event.clientX - left - LEFT) / Math.max(1, width - LEFT - RIGHT);
  }
}

// The window in which the moments that were below the fingers are below them still; fingers as shares of the plot's width.
function moved({ start_s: start, length_s: length }, before, after) {
  const momentBelow = (share) => start + share * length;
  const apart = Math.abs(after.at(-1) - after[0]);
  const stretched = before.length === 2 && apart > 0.01 ? length * (Math.abs(before[1] - before[0]) / apart) : length;
  const from = momentBelow(middle(before)) - middle(after) * stretched;
  return { start_s: from, end_s: from + stretched };
}

const middle = (shares) => shares.reduce((sum, share) => sum + share, 0) / shares.length;
