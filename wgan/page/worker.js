// The worker of onnx.js: opens the model, and draws with it.

import { latents, slerp } from "./latents.js";
import { encodePng, grid } from "./png.js";

const LARGEST_BATCH = 8;
const COPY_AGAIN = "copy the whole folder that wgan export wrote to the host again";

const QUIET = { logSeverityLevel: 3 }; // errors: ONNX Runtime warns of nodes that stay on the CPU

let ort, session, model;

const kinds = { load, draw, grid: drawGrid };

onmessage = async ({ data }) => {
  try {
    postMessage({ answer: await kinds[data.kind](data) });
  } catch (error) {
    postMessage({ error: error.message || String(error) });
  }
};

// Open the model in `folder` and describe it, as a server does at v1/models.
async function load({ folder }) {
  model = await (await fetchFile("model.json", folder)).json().catch(() => {
    throw new Error(`model.json is not JSON: ${COPY_AGAIN}`);
  });
  const onGpu = await hasGpu(model.manifest.precision);
  const [bytes] = await Promise.all([fetchModel(folder), loadRuntime(folder, onGpu)]);
  const provider = await openSession(bytes, onGpu);
  return { ...model, provider };
}

async function fetchFile(name, folder) {
  let response;
  try {
    // no-cache: a file that was replaced on the host is noticed.
    response = await fetch(new URL(name, folder), { cache: "no-cache" });
  } catch {
    throw new Error(`${name} cannot be read: the host does not answer`);
  }
  if (!response.ok) {
    throw new Error(`${name} cannot be read, the host answers ${response.status}: ${COPY_AGAIN}`);
  }
  return response;
}

async function fetchModel(folder) {
  const { file, size, sha256 } = model;
  const bytes = new Uint8Array(await (await fetchFile(file, folder)).arrayBuffer());
  if (bytes.length !== size) {
    throw new Error(`${file} has ${bytes.length} bytes, not ${size}: ${COPY_AGAIN}`);
  }
  // Browsers have no hashes on pages that come by plain HTTP from another machine.
  if (crypto.subtle && hex(await crypto.subtle.digest("SHA-256", bytes)) !== sha256) {
    throw new Error(`${file} is not the file that was exported: ${COPY_AGAIN}`);
  }
  return bytes;
}

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Whether this browser has WebGPU for a precision: 8-bit operators have no form for it.
async function hasGpu(precision) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && (precision === "fp32" || (precision === "fp16" && adapter.features.has("shader-f16")));
}

// Builds with WebGPU are larger: the one that needs JavaScript Promise Integration by a fifth, the
// other by nine tenths.
async function loadRuntime(folder, onGpu) {
  const gpu = "Suspending" in WebAssembly ? "jspi" : "webgpu";
  const name = `ort.${onGpu ? gpu : "wasm"}.min.mjs`;
  try {
    ort = await import(new URL(`onnxruntime-web/${name}`, folder));
  } catch {
    throw new Error(`onnxruntime-web/${name} cannot be read: ${COPY_AGAIN}`);
  }
  ort.env.logLevel = "error";
}

// Open the model on the GPU, or on the CPU if there is none or it does not work; draws an image.
async function openSession(bytes, onGpu) {
  const providers = onGpu ? ["webgpu", "wasm"] : ["wasm"];
  for (const provider of providers) {
    try {
      session = await ort.InferenceSession.create(bytes, { executionProviders: [provider], ...QUIET });
      await run([{ seed: 0, settings: { truncation: 1 } }]);
      return provider === "webgpu" ? "WebGPU, in this browser" : "WebAssembly, in this browser";
    } catch (error) {
      if (provider === "wasm") {
        throw new Error(`${model.file} cannot be opened by this browser: ${error.message}`);
      }
    }
  }
}

// The PNG of each image: a seed's, or one between two seeds.
async function draw({ images }) {
  const { height, width, channels } = model;
  const drawn = await run(images);
  return Promise.all(drawn.map((pixels) => encodePng(pixels, height, width, channels)));
}

// One PNG of all images.
async function drawGrid({ images }) {
  const drawn = [];
  for (let start = 0; start < images.length; start += LARGEST_BATCH) {
    drawn.push(...(await run(images.slice(start, start + LARGEST_BATCH))));
  }
  const { pixels, height, width } = grid(drawn, model.height, model.width, model.channels);
  return encodePng(pixels, height, width, model.channels);
}

// The pixels of images: of each a Uint8Array [height, width, channels].
async function run(images) {
  const rows = images.map(latentsOf);
  const values = new Float32Array(rows.length * model.latent_dim);
  rows.forEach((row, index) => values.set(row, index * model.latent_dim));
  const inputs = { latents: new ort.Tensor("float32", values, [rows.length, model.latent_dim]) };
  if (model.classes.length) {
    const labels = BigInt64Array.from(images, (image) => BigInt(labelOf(image)));
    inputs.labels = new ort.Tensor("int64", labels, [rows.length]);
  }
  const { pixels } = await session.run(inputs, ["pixels"]);
  const size = pixels.data.length / rows.length;
  return rows.map((_, index) => pixels.data.subarray(index * size, (index + 1) * size));
}

function latentsOf({ seed, first, second, at, settings }) {
  const n = model.latent_dim;
  const row = seed === undefined ? slerp(latents(first, n), latents(second, n), at) : latents(seed, n);
  const truncation = Math.fround(settings.truncation);
  return row.map((value) => value * truncation);
}

// Without a label that of the seed; on the way between two seeds that of the first.
function labelOf({ seed, first, settings }) {
  return settings.label ? model.classes.indexOf(settings.label) : (seed ?? first) % model.classes.length;
}
