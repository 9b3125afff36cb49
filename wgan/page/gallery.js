// Images by seed, loaded on scrolling.

const PAGE_SIZE = 48;
export const SEEDS = 2 ** 32;

export class Gallery {
  // `images` draws; calls `pick` with the seed of a chosen image.
  constructor(images, root, end, pick) {
    this.images = images;
    this.root = root;
    this.end = end;
    this.pick = pick;
    this.ends = new Map(); // seed -> "A" or "B"
    this.stop = new AbortController();
    root.addEventListener("click", (event) => this.choose(event.target.closest(".tile")));
    root.addEventListener("keydown", (event) => this.move(event));
    this.bottom = new IntersectionObserver(([entry]) => entry.isIntersecting && this.grow(), {
      rootMargin: "600px",
    });
  }

  // Clear the gallery and show the images from seed `first` on; `settings` are the truncation and the label.
  show(model, settings, first) {
    this.stop.abort();
    this.stop = new AbortController();
    for (const image of this.root.querySelectorAll("img")) {
      URL.revokeObjectURL(image.src);
    }
    this.root.replaceChildren();
    this.end.textContent = "";
    Object.assign(this, { model, settings, first, next: first });
    this.bottom.disconnect();
    this.bottom.observe(this.end);
  }

  grow() {
    const last = Math.min(this.next + PAGE_SIZE, SEEDS);
    for (; this.next < last; this.next += 1) {
      this.add(this.next);
    }
    // The observer reports only changes: observe again in case the end is still visible.
    this.bottom.disconnect();
    if (this.next < SEEDS) {
      this.bottom.observe(this.end);
    }
  }

  add(seed) {
    const tile = document.createElement("button");
    const image = document.createElement("img");
    const name = document.createElement("span");
    tile.className = "tile";
    tile.type = "button";
    tile.dataset.seed = seed;
    tile.setAttribute("role", "option");
    tile.setAttribute("aria-selected", "false");
    tile.tabIndex = this.root.childElementCount ? -1 : 0; // one tab stop; arrow keys move within the gallery
    image.alt = `seed ${seed}`;
    name.textContent = seed;
    tile.append(image, name);
    this.root.append(tile);
    this.markTile(tile);
    this.load(tile, image, seed, this.stop.signal);
  }

  async load(tile, image, seed, signal) {
    try {
      const url = await this.images.image(this.model, seed, this.settings, signal);
      if (signal.aborted) {
        URL.revokeObjectURL(url);
        return;
      }
      image.src = url;
      tile.classList.add("loaded");
    } catch (error) {
      if (!signal.aborted) {
        this.end.textContent = `Some images could not be loaded: ${error.message}`;
      }
    }
  }

  choose(tile) {
    if (tile) {
      this.focus(tile);
      this.pick(Number(tile.dataset.seed));
    }
  }

  // Mark the images A and B.
  mark(a, b) {
    this.ends = new Map([[b, "B"], [a, "A"]]);
    for (const tile of this.root.children) {
      this.markTile(tile);
    }
  }

  markTile(tile) {
    const end = this.ends.get(Number(tile.dataset.seed));
    tile.setAttribute("aria-selected", String(end !== undefined));
    if (end) {
      tile.dataset.end = end;
    } else {
      delete tile.dataset.end;
    }
  }

  move(event) {
    const tiles = [...this.root.children];
    const at = tiles.indexOf(document.activeElement);
    const columns = getComputedStyle(this.root).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (at < 0 || step === undefined) {
      return;
    }
    event.preventDefault();
    if (at + step >= tiles.length) {
      this.grow();
    }
    const tile = this.root.children[at + step];
    if (tile) {
      this.focus(tile);
    }
  }

  focus(tile) {
    this.root.querySelector('[tabindex="0"]').tabIndex = -1;
    tile.tabIndex = 0;
    tile.focus();
  }
}
