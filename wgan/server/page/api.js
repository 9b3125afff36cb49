// Requests to the server: with an API key if it needs one, repeated while it is overloaded.

const KEY = "wgan-key";
const MAX_CONCURRENT = 16;

let running = 0;
const waiting = [];

// Fetch `path`; rejects with an Error that holds the server's message.
export async function request(path, signal) {
  await acquire();
  try {
    return await fetchWithRetries(path, signal);
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

export async function fetchJson(path) {
  return (await request(path)).json();
}

// The image at `path` as a blob URL for an <img>; the caller revokes it.
export async function fetchImage(path, signal) {
  return URL.createObjectURL(await (await request(path, signal)).blob());
}

// Download a blob URL as a file.
export function save(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
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
    const key = sessionStorage.getItem(KEY);
    const headers = key ? { "X-API-Key": key } : {};
    const response = await fetch(path, { headers, signal });
    if (response.ok) {
      return response;
    }
    if (response.status === 401) {
      await askForKey(key);
    } else if (response.status === 429 || response.status === 503) {
      await pause(Number(response.headers.get("Retry-After")) || 1);
    } else {
      throw new Error((await response.json()).error);
    }
  }
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

// One dialog, however many requests were refused.
let dialogResult = null;

function askForKey(refused) {
  if (sessionStorage.getItem(KEY) !== refused) {
    return Promise.resolve(); // entered meanwhile
  }
  dialogResult ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    const field = document.getElementById("key");
    const done = () => {
      sessionStorage.setItem(KEY, field.value);
      dialogResult = null;
      resolve();
    };
    dialog.addEventListener("close", done, { once: true });
    dialog.showModal();
  });
  return dialogResult;
}
