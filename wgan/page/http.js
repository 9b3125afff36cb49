// Images of a server, by HTTP: with an API key if it needs one, repeated while it is overloaded.
//
// Addresses are relative to the page's, so that the server works below any prefix.

import { element } from "./dom.js";

const KEY = "wgan-key";
const MAX_CONCURRENT = 16;
const ANOTHER = "something in front of the server answers, such as a proxy or a login page";

let running = 0;
const waiting = [];

// Every model of the server, with its manifest and the most images of a request.
export async function models() {
  const { models, limits } = await fetchJson("v1/models");
  return models.map((model) => ({ ...model, mostImages: limits.max_images }));
}

// The blob URL of a seed's image; `settings` are URL parameters. The caller revokes it.
export function image(model, seed, settings, signal) {
  return fetchImage(`v1/models/${model.name}/images/${seed}.png`, settings, signal);
}

// The blob URL of the image at `at`, 0 to 1, on the way from seed `first` to seed `second`.
export function between(model, { first, second, at }, settings, signal) {
  const parameters = { first, second, at: at.toFixed(6), ...settings };
  return fetchImage(`v1/models/${model.name}/between.png`, parameters, signal);
}

// The blob URL of the images of seeds `first` to `last` in one.
export function grid(model, first, last, settings) {
  const parameters = { seeds: `${first}-${last}`, ...settings };
  return fetchImage(`v1/models/${model.name}/grid.png`, parameters);
}

export async function fetchJson(path) {
  return (await request(path, "application/json")).json();
}

async function fetchImage(path, parameters, signal) {
  const response = await request(`${path}?${new URLSearchParams(parameters)}`, "image/png", signal);
  return URL.createObjectURL(await response.blob());
}

// Fetch `path`, of a media type; rejects with an Error that holds the server's message.
async function request(path, type, signal) {
  await acquire();
  try {
    const response = await fetchWithRetries(path, signal);
    if (mediaType(response) !== type) {
      throw new Error(`${path} is of the type ${mediaType(response)}, not ${type}: ${ANOTHER}.`);
    }
    return response;
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

export function mediaType(response) {
  return (response.headers.get("Content-Type") ?? "").split(";")[0];
}

// Fetch `path` with the API key; asks for one until the server accepts it or the user gives up.
export async function send(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key && { "X-API-Key": key }) };
    const response = await reach(path, { ...options, headers });
    if (response.status !== 401 || !isOwn(response) || !(await askForKey(key))) {
      return response;
    }
  }
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw new Error(`The server cannot be reached: ${error.message}.`);
  }
}

// Whether the server itself refuses a request, and not a proxy, whose errors are in HTML.
function isOwn(response) {
  return mediaType(response) === "application/json";
}

// Limit concurrent requests: a queued one can still be aborted, one in the browser's queue cannot.
async function acquire() {
  while (running >= MAX_CONCURRENT) {
    await new Promise((resolve) => waiting.push(resolve));
  }
  running += 1;
}

async function fetchWithRetries(path, signal) {
  for (;;) {
    signal?.throwIfAborted();
    const response = await send(path, { signal });
    if (response.ok) {
      return response;
    }
    if (!isOwn(response)) {
      const status = [response.status, response.statusText].filter(Boolean).join(" ");
      throw new Error(`${path} is answered with ${status}, not by wgan: ${ANOTHER}.`);
    }
    if (response.status !== 429 && response.status !== 503) {
      throw new Error((await response.json()).error);
    }
    await pause(Number(response.headers.get("Retry-After")) || 1);
  }
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

// One dialog, however many requests were refused.
let dialogResult = null;

// Ask for a key unless one was entered since `refused` was sent; false if the user closes the dialog.
function askForKey(refused) {
  if (sessionStorage.getItem(KEY) !== refused) {
    return Promise.resolve(true);
  }
  dialogResult ??= new Promise((resolve) => {
    const dialog = element("dialog", "", { id: "key-dialog", "aria-labelledby": "key-label" });
    const form = element("form", "", { method: "dialog" });
    const field = element("input", "", {
      id: "key",
      type: "password",
      autocomplete: "current-password",
      required: "",
    });
    form.append(element("label", "This server needs an API key", { id: "key-label", for: "key" }));
    form.append(field);
    if (refused) {
      form.append(element("p", "The server does not accept this key.", { id: "key-error", role: "alert" }));
      field.setAttribute("aria-describedby", "key-error");
      field.setAttribute("aria-invalid", "true");
    }
    form.append(element("button", "Continue", { value: "entered" }));
    dialog.append(form);
    document.body.append(dialog);
    dialog.addEventListener("close", () => {
      const entered = dialog.returnValue === "entered";
      if (entered) {
        sessionStorage.setItem(KEY, field.value);
      }
      dialog.remove();
      dialogResult = null;
      resolve(entered);
    });
    dialog.showModal();
  });
  return dialogResult;
}
