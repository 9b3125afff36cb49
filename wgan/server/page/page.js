// The page: its controls, the gallery and the interpolation.

import { fetchJson, request, save } from "./api.js";
import { Between } from "./between.js";
import { Gallery } from "./gallery.js";

const GRID_IMAGES = 64;

const find = (id) => document.getElementById(id);
const gallery = new Gallery(find("gallery"), find("end"), pick);
const between = new Between(find);
let models = [];
let pair = [0, 1];

start();

async function start() {
  try {
    ({ models } = await fetchJson("/v1/models"));
  } catch (error) {
    find("end").textContent = error.message;
    return;
  }
  find("model").append(...models.map((model) => new Option(model.name)));
  find("model").addEventListener("change", showModel);
  find("truncation").addEventListener("input", showTruncation);
  find("truncation").addEventListener("change", showImages);
  find("jump").addEventListener("submit", jump);
  find("first").addEventListener("change", jump);
  find("save-grid").addEventListener("click", saveGrid);
  showModel();
}

function model() {
  return models[find("model").selectedIndex];
}

function showModel() {
  const { name, provider, version, manifest, height, width, latent_dim } = model();
  document.title = `${name} · wgan`;
  find("provider").textContent = `Runs on ${provider}`;
  const facts = {
    version,
    images: `${width} × ${height}`,
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
  showImages();
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

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function showTruncation() {
  find("truncation-value").textContent = Number(find("truncation").value).toFixed(2);
}

function showImages() {
  gallery.show(model().name, find("truncation").value, Number(find("first").value));
  showPair();
}

function showPair() {
  between.set(model().name, find("truncation").value, ...pair);
  gallery.mark(...pair);
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
    pair = [0, 1].map((step) => Math.min(Number(find("first").value) + step, 2 ** 32 - 1));
    showImages();
  }
}

async function saveGrid() {
  const first = Number(find("first").value);
  const seeds = `${first}-${Math.min(first + GRID_IMAGES - 1, 2 ** 32 - 1)}`;
  const { name } = model();
  const query = `seeds=${seeds}&truncation=${find("truncation").value}`;
  const response = await request(`/v1/models/${name}/grid.png?${query}`);
  const url = URL.createObjectURL(await response.blob());
  save(url, `${name}-${seeds}.png`);
}
