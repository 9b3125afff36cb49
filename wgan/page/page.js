// The page: its controls, the gallery and the interpolation.
//
// What draws the images, http.js or onnx.js, is a module with `models`, `image`, `between`, `grid`.

import { Between } from "./between.js";
import { element, save } from "./dom.js";
import { Gallery, SEEDS } from "./gallery.js";

const GRID_IMAGES = 64;
const SLIDERS = 5;
const LARGEST_STRENGTH = 5;

const find = (id) => document.getElementById(id);
let images, gallery, between;
let models = [];
let pair = [0, 1];
let strengths = []; // along the model's directions, the first one first

// Show the images that the module `drawing` draws.
export async function start(drawing) {
  images = drawing;
  gallery = new Gallery(images, find("gallery"), find("end"), pick);
  between = new Between(images, find);
  try {
    models = await images.models();
  } catch (error) {
    find("end").textContent = error.message;
    return;
  }
  find("model").append(...models.map((model) => new Option(model.name)));
  find("model").addEventListener("change", () => {
    strengths = [];
    showClasses("");
    showModel();
  });
  find("label").addEventListener("change", showImages);
  find("reset").addEventListener("click", () => {
    strengths = [];
    showSliders();
    showPair();
  });
  find("at").addEventListener("change", writeAddress);
  find("truncation").addEventListener("input", showTruncation);
  find("truncation").addEventListener("change", showImages);
  find("jump").addEventListener("submit", jump);
  find("first").addEventListener("change", jump);
  find("random").addEventListener("click", random);
  find("save-grid").addEventListener("click", saveGrid);
  readAddress();
  showModel();
}

// The model, the class, the first seed, the truncation, the pair, the slider and the strengths of the
// directions are in the address, so that it can be shared. A value that is not allowed is ignored.
function readAddress() {
  const given = new URLSearchParams(location.search);
  const index = models.findIndex(({ name }) => name === given.get("model"));
  find("model").selectedIndex = Math.max(index, 0);
  showClasses(given.get("label"));
  for (const [name, control] of Object.entries({ seed: "first", truncation: "truncation", at: "at" })) {
    const before = find(control).value;
    const number = Number(given.get(name) || NaN);
    find(control).value = Number.isFinite(number) ? number : before; // a slider clamps it
    if (!find(control).checkValidity()) {
      find(control).value = before;
    }
  }
  const ends = ["a", "b"].map((name) => Number(given.get(name) ?? NaN));
  pair = ends.every(isSeed) ? ends : pairFrom(Number(find("first").value));
  const moved = (given.get("strengths") || "").split(",").map(Number);
  const allowed = moved.every((strength) => Math.abs(strength) <= LARGEST_STRENGTH);
  strengths = allowed && moved.length <= model().directions ? moved : [];
  showTruncation();
}

function writeAddress() {
  const [a, b] = pair;
  const shown = { seed: find("first").value, truncation: find("truncation").value, a, b };
  const moved = strengths.some(Boolean) && { strengths: strengths.join(",") };
  const label = find("label").value && { label: find("label").value };
  const query = new URLSearchParams({
    model: model().name,
    ...label,
    ...shown,
    at: find("at").value,
    ...moved,
  });
  history.replaceState(null, "", `?${query}`);
}

function isSeed(number) {
  return Number.isInteger(number) && number >= 0 && number < SEEDS;
}

function pairFrom(seed) {
  return [seed, Math.min(seed + 1, SEEDS - 1)];
}

function model() {
  return models[find("model").selectedIndex];
}

// A menu of the model's classes, if it has some, with `chosen` selected.
function showClasses(chosen) {
  const { classes } = model();
  find("classes").hidden = classes.length === 0;
  find("label").replaceChildren(
    new Option("by seed", ""),
    ...classes.map((name) => new Option(name, name)),
  );
  find("label").value = classes.includes(chosen) ? chosen : "";
}

// What all images have in common: how the latents are scaled, and the class.
function settings() {
  const label = find("label").value && { label: find("label").value };
  return { truncation: find("truncation").value, ...label };
}

function showModel() {
  const { name, provider, version, manifest, height, width, channels, latent_dim } = model();
  document.documentElement.style.setProperty("--shape", `${width} / ${height}`);
  document.documentElement.classList.toggle("alpha", channels === 4);
  document.title = `${name} · wgan`;
  find("provider").textContent = `Runs on ${provider}`;
  const facts = {
    version,
    images: `${width} × ${height}`,
    channels,
    "latent dim": latent_dim,
    ...flat(manifest ?? {}),
    "file sha256": model().sha256,
  };
  find("manifest").replaceChildren(
    ...Object.entries(facts).flatMap(([key, value]) => [
      element("dt", key),
      element("dd", value),
    ]),
  );
  showSliders();
  showImages();
}

// A slider for each of the first directions; they move the images A and B and those in between.
function showSliders() {
  const count = Math.min(model().directions, SLIDERS);
  find("directions").hidden = count === 0;
  find("sliders").replaceChildren(...Array.from({ length: count }, (_, index) => slider(index)));
}

function slider(index) {
  const limits = { min: -LARGEST_STRENGTH, max: LARGEST_STRENGTH, step: 0.1 };
  const label = element("label", String(index));
  const control = element("input", "", { type: "range", id: `direction-${index}`, ...limits });
  const value = element("output", "", { for: control.id });
  const show = () => {
    value.textContent = Number(control.value).toFixed(1);
  };
  control.value = strengths[index] || 0;
  show();
  control.addEventListener("input", () => {
    show();
    strengths = Array.from({ length: Math.max(strengths.length, index + 1) }, (_, at) =>
      at === index ? Number(control.value) : strengths[at] || 0,
    );
    between.set(model(), settings(), ...pair, strengths, false);
  });
  control.addEventListener("change", showPair);
  label.append(control, value);
  return label;
}

// {a: {b: 1}} -> {"a b": 1}
function flat(content, path = []) {
  return Object.fromEntries(
    Object.entries(content).flatMap(([key, value]) => {
      const name = [...path, key.replaceAll("_", " ")];
      const nested = value !== null && typeof value === "object" && !Array.isArray(value);
      return nested
        ? Object.entries(flat(value, name))
        : [[name.join(" "), Array.isArray(value) ? value.join(", ") : String(value)]];
    }),
  );
}

function showTruncation() {
  find("truncation-value").textContent = Number(find("truncation").value).toFixed(2);
}

function showImages() {
  gallery.show(model(), settings(), Number(find("first").value));
  showPair();
}

function showPair() {
  between.set(model(), settings(), ...pair, strengths);
  gallery.mark(...pair);
  writeAddress();
}

// A and B are the last two chosen images.
function pick(seed) {
  if (seed !== pair[1]) {
    pair = [pair[1], seed];
    showPair();
  }
}

function jump(event) {
  event.preventDefault();
  if (find("first").reportValidity()) {
    pair = pairFrom(Number(find("first").value));
    showImages();
  }
}

function random(event) {
  [find("first").value] = crypto.getRandomValues(new Uint32Array(1));
  jump(event);
}

async function saveGrid() {
  const first = Number(find("first").value);
  const count = Math.min(GRID_IMAGES, model().mostImages ?? GRID_IMAGES, SEEDS - first);
  const last = first + count - 1;
  find("grid-error").textContent = "";
  try {
    const url = await images.grid(model(), first, last, settings());
    save(url, `${model().name}-${first}-${last}.png`);
  } catch (error) {
    find("grid-error").textContent = `The grid could not be drawn: ${error.message}`;
  }
}
