// The OpenAPI document as a page, with a form to try each request.

import { element, save } from "./dom.js";
import { fetchJson, mediaType, send } from "./http.js";

const MAX_SHOWN = 20_000; // characters of a response

let base, examples;

await showDocument();

async function showDocument() {
  const page = document.getElementById("docs");
  try {
    const api = await fetchJson("openapi.json");
    base = new URL(api.servers[0].url, document.baseURI).pathname.replace(/\/$/, "");
    const { name: model, version } = await findModel();
    examples = { model, version, seed: 42, first: 1, second: 2, at: 0.5 };
    for (const { name, description } of api.tags) {
      page.append(element("h2", description), ...showOperations(api, name));
    }
  } catch (error) {
    page.append(element("p", error.message, { role: "alert" }));
  }
}

function showOperations(api, tag) {
  return Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => operation.tags.includes(tag))
      .map(([method, operation]) => showOperation(method, path, operation)),
  );
}

// The first model, or a placeholder where a key is needed: none is asked for before a request.
async function findModel() {
  const response = await fetch("v1/models");
  return response.ok && mediaType(response) === "application/json" ? (await response.json()).models[0] ?? {} : {};
}

function showOperation(method, path, operation) {
  const title = element("h3");
  title.append(element("span", method.toUpperCase()), ` ${path}`);
  const article = element("article");
  const responses = element("details");
  const table = element("table");
  for (const [status, { content = {}, description }] of Object.entries(operation.responses)) {
    const types = status < 400 ? Object.keys(content).join(", ") : ""; // errors are all JSON
    table.insertRow().append(element("th", status), element("td", `${description} ${types}`));
  }
  responses.append(element("summary", "Responses"), table);
  article.append(title, element("p", operation.summary), tryForm(method, path, operation), responses);
  return article;
}

// Fields of the parameters and the body, a button, and the response below it.
function tryForm(method, path, operation) {
  const form = element("form", "", { class: "try" });
  const parameters = operation.parameters.map((parameter) => {
    const { name, in: place, required, schema, description } = parameter;
    const label = element("label");
    const field = element("input", "", { name, value: examples[name] ?? schema.default ?? "" });
    field.required = required;
    label.append(element("span", name), field, element("small", `${place}. ${description}`));
    form.append(label);
    return { name, place, field };
  });
  const content = operation.requestBody?.content["application/json"];
  const body = element("textarea", "", { rows: 10, spellcheck: "false", "aria-label": "Body" });
  if (content) {
    body.value = JSON.stringify(content.example, null, 2);
    form.append(body);
  }
  const accepted = Object.keys(operation.responses["200"]?.content ?? {});
  const accept = element("select", "", { "aria-label": "Accept" });
  accept.append(...accepted.map((type) => new Option(type)));
  const row = element("div", "", { class: "row" });
  row.append(element("button", "Send"), ...(accepted.length > 1 ? [accept] : []));
  const result = element("div", "", { class: "result", role: "status" });
  form.append(row, result);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const filled = parameters.filter(({ field }) => field.value !== "");
    const address = filled
      .filter(({ place }) => place === "path")
      .reduce((left, { name, field }) => left.replace(`{${name}}`, encodeURIComponent(field.value)), base + path);
    const query = new URLSearchParams(
      filled.filter(({ place }) => place === "query").map(({ name, field }) => [name, field.value]),
    );
    const headers = Object.fromEntries(
      filled.filter(({ place }) => place === "header").map(({ name, field }) => [name, field.value]),
    );
    if (accepted.length) {
      headers.Accept = accept.value;
    }
    const options = { method: method.toUpperCase(), headers };
    if (content) {
      headers["Content-Type"] = "application/json";
      options.body = body.value;
    }
    const url = query.size ? `${address}?${query}` : address;
    try {
      result.replaceChildren(...(await showResponse(await send(url, options), options.method, url)));
    } catch (error) {
      result.replaceChildren(element("p", `No response: ${error.message}`));
    }
  });
  return form;
}

// The status, and the body as an image, as text, or as a file to save.
async function showResponse(response, method, url) {
  const type = mediaType(response);
  const line = [response.status, response.statusText, type].filter(Boolean).join(" ");
  const shown = [element("code", `${method} ${url}`), element("p", line)];
  const blob = await response.blob();
  if (type.startsWith("image/")) {
    shown.push(element("img", "", { src: URL.createObjectURL(blob), alt: `Response of ${url}` }));
  } else if (type === "application/json" || type.startsWith("text/")) {
    const text = await blob.text();
    const pretty = type === "application/json" && text.length <= MAX_SHOWN;
    const full = pretty ? JSON.stringify(JSON.parse(text), null, 2) : text;
    shown.push(element("pre", full.length > MAX_SHOWN ? `${full.slice(0, MAX_SHOWN)} ...` : full));
  } else if (blob.size) {
    const button = element("button", `Save ${blob.size} bytes`, { type: "button" });
    const name = `response.${type.split(/[/-]/).at(-1)}`;
    button.addEventListener("click", () => save(URL.createObjectURL(blob), name));
    shown.push(button);
  }
  return shown;
}
