// The way between two images: a slider whose every place is an image.

import { askImage, save } from "./api.js";

const FRAME_MS = 80;

export class Between {
  constructor(find) {
    this.middle = find("middle");
    this.slider = find("at");
    this.ends = { a: find("end-a"), b: find("end-b") };
    this.names = { a: find("name-a"), b: find("name-b") };
    this.playing = find("play");
    this.frames = new Map(); // place -> address of its image, or a promise of it
    this.stop = new AbortController();
    this.slider.addEventListener("input", () => this.show());
    this.playing.addEventListener("click", () => this.play());
    find("save").addEventListener("click", () => save(this.middle.src, this.fileName()));
  }

  // Go from seed `a` to seed `b`.
  set(model, truncation, a, b) {
    this.stop.abort();
    this.stop = new AbortController();
    for (const frame of this.frames.values()) {
      frame.then(URL.revokeObjectURL, () => {});
    }
    this.frames.clear();
    Object.assign(this, { model, truncation, a, b });
    this.names.a.textContent = a;
    this.names.b.textContent = b;
    this.show();
    this.fill(this.ends.a, 0);
    this.fill(this.ends.b, this.places);
    for (let place = 0; place <= this.places; place += 1) {
      this.frame(place).catch(() => {}); // drawn ahead, so that the slider finds them there
    }
  }

  get places() {
    return Number(this.slider.max);
  }

  get place() {
    return Number(this.slider.value);
  }

  frame(place) {
    if (!this.frames.has(place)) {
      const at = (place / this.places).toFixed(6);
      const query = `first=${this.a}&second=${this.b}&at=${at}&truncation=${this.truncation}`;
      const path = `/v1/models/${this.model}/between.png?${query}`;
      this.frames.set(place, askImage(path, this.stop.signal));
    }
    return this.frames.get(place);
  }

  async fill(image, place) {
    const signal = this.stop.signal;
    try {
      const address = await this.frame(place);
      if (!signal.aborted) {
        image.src = address;
        image.alt = `seed ${place ? this.b : this.a}`;
      }
    } catch {
      // Called off, or said in the gallery already.
    }
  }

  async show() {
    const place = this.place;
    const signal = this.stop.signal;
    try {
      const address = await this.frame(place);
      if (!signal.aborted && place === this.place) {
        this.middle.src = address;
        this.middle.alt = `${place} of ${this.places} from seed ${this.a} to seed ${this.b}`;
      }
    } catch {
      // Called off: another pair is on its way.
    }
  }

  play() {
    const on = this.playing.getAttribute("aria-pressed") !== "true";
    this.playing.setAttribute("aria-pressed", String(on));
    clearInterval(this.timer);
    if (on) {
      let step = 1;
      this.timer = setInterval(() => {
        if (this.place + step < 0 || this.place + step > this.places) {
          step = -step;
        }
        this.slider.value = this.place + step;
        this.show();
      }, FRAME_MS);
    }
  }

  fileName() {
    if (this.place === 0) {
      return `${this.model}-${this.a}.png`;
    }
    if (this.place === this.places) {
      return `${this.model}-${this.b}.png`;
    }
    return `${this.model}-${this.a}-${this.b}-${this.place}of${this.places}.png`;
  }
}
