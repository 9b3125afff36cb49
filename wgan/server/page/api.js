// Questions to the server: with a key where it asks for one, again where it is overloaded.

const KEY = "wgan-key";
const AT_ONCE = 16;

let running = 0;
const waiting = [];

// Ask for `path`; rejects with an Error that says the server's own sentence.
export async function ask(path, signal) {
  await turn();
  try {
    return await askUntilAnswered(path, signal);
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

export async function askJson(path) {
  return (await ask(path)).json();
}

// The image at `path` as an address for an <img>; whoever takes it revokes it.
export async function askImage(path, signal) {
  return URL.createObjectURL(await (await ask(path, signal)).blob());
}

// Hand an image to the browser's downloads.
export function save(address, name) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}

// A browser opens few connections; what waits here can still be called off.
async function turn() {
  while (running >= AT_ONCE) {
    await new Promise((resolve) => waiting.push(resolve));
  }
  running += 1;
}

async function askUntilAnswered(path, signal) {
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

// Open the dialog once, however many questions met a closed door.
let asking = null;

function askForKey(refused) {
  if (sessionStorage.getItem(KEY) !== refused) {
    return Promise.resolve(); // someone has given a new one meanwhile
  }
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key-dialog");
    const field = document.getElementById("key");
    const done = () => {
      sessionStorage.setItem(KEY, field.value);
      asking = null;
      resolve();
    };
    dialog.addEventListener("close", done, { once: true });
    dialog.showModal();
  });
  return asking;
}
