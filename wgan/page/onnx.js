// Images drawn in this browser, by onnxruntime-web in a worker: the page stays responsive.

const LARGEST_BATCH = 8;

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const waiting = []; // images that were asked for and are not drawn yet
let batch = 1; // the first image comes alone, as soon as it can
let drawing = false;
let answered = Promise.resolve(); // once the worker has answered every message

// The model of this folder, in a list as a server has it.
export async function models() {
  return [await ask({ kind: "load", folder: new URL(".", document.baseURI).href })];
}

// The blob URL of a seed's image; `settings` are the truncation and the label.
export function image(model, seed, settings, signal) {
  return draw({ seed, settings }, signal);
}

// The blob URL of the image at `at`, 0 to 1, on the way from seed `first` to seed `second`.
export function between(model, { first, second, at }, settings, signal) {
  return draw({ first, second, at, settings }, signal);
}

// The blob URL of the images of seeds `first` to `last` in one.
export async function grid(model, first, last, settings) {
  const seeds = Array.from({ length: last - first + 1 }, (_, index) => first + index);
  return blobUrl(await ask({ kind: "grid", images: seeds.map((seed) => ({ seed, settings })) }));
}

function draw(image, signal) {
  return new Promise((resolve, reject) => {
    waiting.push({ image, signal, resolve, reject });
    drawWaiting();
  });
}

// Batches of 1, 2, 4 and 8: a GPU prepares its programs for each batch size.
async function drawWaiting() {
  if (drawing) {
    return;
  }
  drawing = true;
  while (waiting.length) {
    const count = Math.min(batch, 2 ** Math.floor(Math.log2(waiting.length)));
    await drawBatch(waiting.splice(0, count));
    batch = Math.min(2 * batch, LARGEST_BATCH);
    dropAborted();
  }
  drawing = false;
}

async function drawBatch(requests) {
  try {
    const files = await ask({ kind: "draw", images: requests.map(({ image }) => image) });
    files.forEach((file, index) => requests[index].resolve(blobUrl(file)));
  } catch (error) {
    requests.forEach(({ reject }) => reject(error));
  }
}

function dropAborted() {
  for (const request of waiting.splice(0)) {
    if (request.signal?.aborted) {
      request.reject(request.signal.reason);
    } else {
      waiting.push(request);
    }
  }
}

function blobUrl(file) {
  return URL.createObjectURL(new Blob([file], { type: "image/png" }));
}

// Send the worker a message once it has answered the one before; resolves to its answer.
function ask(message) {
  const answer = answered.then(() => send(message));
  answered = answer.catch(() => {});
  return answer;
}

function send(message) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.answer));
    worker.onerror = (event) => {
      const reason = event.message ?? "worker.js cannot be read";
      reject(new Error(`The page's scripts do not work in this browser: ${reason}`));
    };
    worker.postMessage(message);
  });
}
