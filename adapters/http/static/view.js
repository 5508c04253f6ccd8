// Which part of a recording is looked at: one window for all channels' plots. Whoever changes it tells all others.

const SHORTEST_S = 0.05;

export class View {
  constructor(duration_s) {
    this.duration_s = duration_s;
    this.start_s = 0;
    this.end_s = duration_s;
    this.listeners = new Set();
  }

  get length_s() {
    return this.end_s - this.start_s;
  }

  get isWhole() {
    return this.start_s <= 0 && this.end_s >= this.duration_s;
  }

  // Keeps within the recording; a window is moved rather than cut.
  show(start_s, end_s) {
    const length = Math.min(this.duration_s, Math.max(SHORTEST_S, end_s - start_s));
    const start = Math.min(Math.max(0, start_s), this.duration_s - length);
    if (Math.abs(start - this.start_s) < 1e-6 && Math.abs(start + length - this.end_s) < 1e-6) {
      return;
    }
    this.start_s = start;
    this.end_s = start + length;
    this.listeners.forEach((listener) => listener(this));
  }

  showAll() {
    this.show(0, this.duration_s);
  }

  zoom(factor) {
    const middle = (this.start_s + this.end_s) / 2;
    const half = (this.length_s * factor) / 2;
    this.show(middle - half, middle + half);
  }

  move(share) {
    const by = share * this.length_s;
    this.show(this.start_s + by, this.end_s + by);
  }
}
