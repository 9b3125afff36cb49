// Interpolation of two images: a slider with an image at each position.

import { save } from "./dom.js";

const FRAME_MS = 80;

export class Between {
  // `images` draws; `find` gives the page's elements by id.
  constructor(images, find) {
    this.images = images;
    this.middle = find("middle");
    this.slider = find("at");
    this.ends = { a: find("end-a"), b: find("end-b") };
    this.names = { a: find("name-a"), b: find("name-b") };
    this.playing = find("play");
    this.frames = new Map(); // position -> promise of its image's blob URL
    this.stop = new AbortController();
    this.slider.addEventListener("input", () => this.show());
    this.playing.addEventListener("click", () => this.play());
    find("save").addEventListener("click", () => save(this.middle.src, this.fileName()));
  }

  // Interpolate from seed `a` to seed `b`, all images moved by `strengths`; `settings` are the
  // truncation and the label. `prefetch` loads every position before the slider gets there.
  set(model, settings, a, b, strengths, prefetch = true) {
    this.stop.abort();
    this.stop = new AbortController();
    for (const frame of this.frames.values()) {
      frame.then(URL.revokeObjectURL, () => {});
    }
    this.frames.clear();
    Object.assign(this, { model, settings, a, b, strengths });
    this.names.a.textContent = a;
    this.names.b.textContent = b;
    this.show();
    this.fill(this.ends.a, 0);
    this.fill(this.ends.b, this.lastPosition);
    for (let position = 0; prefetch && position <= this.lastPosition; position += 1) {
      this.frame(position).catch(() => {});
    }
  }

  get lastPosition() {
    return Number(this.slider.max);
  }

  get position() {
    return Number(this.slider.value);
  }

  frame(position) {
    if (!this.frames.has(position)) {
      const pair = { first: this.a, second: this.b, at: position / this.lastPosition };
      const moved = this.moved && { strengths: this.moved };
      const settings = { ...this.settings, ...moved };
      this.frames.set(position, this.images.between(this.model, pair, settings, this.stop.signal));
    }
    return this.frames.get(position);
  }

  // The strengths as text, or nothing if all are 0.
  get moved() {
    return this.strengths.some(Boolean) ? this.strengths.join(",") : "";
  }

  async fill(image, position) {
    const signal = this.stop.signal;
    try {
      const url = await this.frame(position);
      if (!signal.aborted) {
        image.src = url;
        image.alt = `seed ${position ? this.b : this.a}`;
      }
    } catch {
      // Aborted, or already reported by the gallery.
    }
  }

  async show() {
    const position = this.position;
    const signal = this.stop.signal;
    try {
      const url = await this.frame(position);
      if (!signal.aborted && position === this.position) {
        this.middle.src = url;
        const place = `${position} of ${this.lastPosition} from seed ${this.a} to seed ${this.b}`;
        this.middle.alt = this.moved ? `${place}, moved by ${this.moved}` : place;
      }
    } catch {
      // Aborted: another pair was chosen.
    }
  }

  play() {
    const on = this.playing.getAttribute("aria-pressed") !== "true";
    this.playing.setAttribute("aria-pressed", String(on));
    clearInterval(this.timer);
    if (on) {
      let step = 1;
      this.timer = setInterval(() => {
        if (this.position + step < 0 || this.position + step > this.lastPosition) {
          step = -step;
        }
        this.slider.value = this.position + step;
        this.show();
      }, FRAME_MS);
    }
  }

  fileName() {
    if (this.position === 0) {
      return `${this.model.name}-${this.a}.png`;
    }
    if (this.position === this.lastPosition) {
      return `${this.model.name}-${this.b}.png`;
    }
    return `${this.model.name}-${this.a}-${this.b}-${this.position}of${this.lastPosition}.png`;
  }
}
