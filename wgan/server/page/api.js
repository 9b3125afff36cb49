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

// Fetch `path` with the API key; asks for one until the server accepts it or the user gives up.
export async function send(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key && { "X-API-Key": key }) };
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401 || !(await askForKey(key))) {
      return response;
    }
  }
}

// Download a blob URL as a file.
export function save(url, name) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

export function element(kind, text = "", attributes = {}) {
  const made = document.createElement(kind);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    made.setAttribute(name, value);
  }
  return made;
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
    if (response.status !== 429 && response.status !== 503) {
      throw new Error(await message(response));
    }
    await pause(Number(response.headers.get("Retry-After")) || 1);
  }
}

// The server's sentence; a proxy in front of it answers in HTML.
async function message(response) {
  const body = await response.json().catch(() => ({}));
  return body.error ?? `the answer is ${response.status} ${response.statusText}`;
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
