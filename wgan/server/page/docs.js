// The OpenAPI document as a page.

const response = await fetch("/openapi.json");
const api = await response.json();

for (const { name, description } of api.tags) {
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => operation.tags.includes(name))
      .map(([method, operation]) => showOperation(method, path, operation)),
  );
  document.getElementById("docs").append(element("h2", description), ...operations);
}

function showOperation(method, path, operation) {
  const title = element("h3");
  title.append(element("span", method.toUpperCase()), ` ${path}`);
  const article = element("article");
  article.append(title, element("p", operation.summary));
  if (operation.parameters?.length) {
    article.append(
      table(operation.parameters.map(({ name, in: place, description }) => [name, place, description])),
    );
  }
  const example = operation.requestBody?.content["application/json"]?.example;
  if (example) {
    article.append(element("pre", JSON.stringify(example, null, 2)));
  }
  article.append(
    table(
      Object.entries(operation.responses).map(([status, { content = {}, description }]) => [
        status,
        Object.keys(content).join(", "),
        description,
      ]),
    ),
  );
  return article;
}

function table(rows) {
  const made = element("table");
  for (const [first, ...rest] of rows) {
    const row = made.insertRow();
    row.append(element("th", first), ...rest.map((text) => element("td", text)));
  }
  return made;
}

function element(kind, text = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}
