// Asks the server that this page came from. `/?text=...` fills the text and asks at once; so does the name of any
// other column, and `model=` chooses the model. Whatever is shown is set as text, never as HTML.
"use strict";

const byId = (id) => document.getElementById(id);
const SHOWN_LABELS = 10; // of 77 labels, the best ones tell enough
let models = [];

async function fetchJson(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new Error("the server cannot be reached");
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error || `the server answered ${response.status}`);
  return body;
}

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function chosen() {
  return models[Math.max(0, byId("model").selectedIndex)];
}

function showModel() {
  const model = chosen();
  const typed = new Map([...byId("texts").querySelectorAll("textarea")].map((area) => [area.name, area.value]));
  const texts = model.columns.flatMap((column) => {
    const area = make("textarea", "", { id: `column-${column}`, name: column, spellcheck: "false" });
    area.value = typed.get(column) || "";
    return [make("label", column, { for: area.id }), area];
  });
  byId("texts").replaceChildren(...texts);
  byId("metadata").href = `v1/models/${encodeURIComponent(model.name)}/metadata`;
  byId("ask").disabled = model.columns.length === 0;
  byId("answer").hidden = true;
  showFacts(model);
  showProblem(model.columns.length ? "" : model.problem);
}

function showFacts(model) {
  const facts = Object.entries(model.facts).flatMap(([name, value]) => [make("dt", name), make("dd", value)]);
  byId("facts").replaceChildren(...facts);
}

function showProblem(message) {
  byId("problem").textContent = message;
  byId("problem").hidden = !message;
}

function showAnswer(outputs) {
  const best = outputs.label[0];
  const shares = outputs.labels[0]
    .map((label, index) => ({ label, share: outputs.probabilities[0][index] }))
    .sort((a, b) => b.share - a.share)
    .slice(0, SHOWN_LABELS);
  const rows = shares.map(({ label, share }) => {
    const row = make("tr", "", label === best ? { class: "best" } : {});
    const cell = make("td", "");
    const percent = `${(100 * share).toFixed(1)} %`;
    const bar = make("progress", percent, { max: "1", value: String(share), "aria-hidden": "true" });
    cell.append(make("span", percent, { class: "percent" }), bar);
    row.append(make("th", label, { scope: "row" }), cell);
    return row;
  });
  const count = outputs.labels[0].length;
  byId("caption").textContent =
    count > SHOWN_LABELS ? `The ${SHOWN_LABELS} most probable of ${count} labels` : "Probability of each label";
  byId("label").textContent = best;
  byId("bars").replaceChildren(...rows);
  byId("answer").hidden = false;
}

async function ask() {
  if (byId("ask").disabled) return; // one at a time: answers may overtake each other
  const model = chosen();
  const inputs = {};
  for (const area of byId("texts").querySelectorAll("textarea")) inputs[area.name] = [area.value];
  byId("ask").disabled = true;
  try {
    const path = `v1/models/${encodeURIComponent(model.name)}:predict`;
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ inputs }) };
    const { outputs } = await fetchJson(path, options);
    const now = await fetchJson("demo/models.json"); // another version may be in service since the page was opened
    if (model !== chosen()) return;
    showAnswer(outputs);
    showFacts(now.find(({ name }) => name === model.name) || model);
    showProblem("");
  } catch (error) {
    if (model !== chosen()) return;
    byId("answer").hidden = true;
    showProblem(`No answer: ${error.message}`);
  } finally {
    byId("ask").disabled = chosen().columns.length === 0;
  }
}

async function start() {
  const query = new URLSearchParams(location.search);
  models = await fetchJson("demo/models.json");
  if (models.length === 0) throw new Error("there is none");
  byId("model").replaceChildren(...models.map((model) => make("option", model.name)));
  byId("model-row").hidden = models.length < 2;
  const index = query.has("model") ? models.findIndex(({ name }) => name === query.get("model")) : 0;
  byId("model").selectedIndex = Math.max(0, index);
  showModel();
  let given = false;
  for (const area of byId("texts").querySelectorAll("textarea")) {
    given = given || query.has(area.name);
    area.value = query.get(area.name) || "";
  }
  if (index < 0) showProblem(`This server has no model called ${query.get("model")}.`);
  else if (given) await ask();
  else byId("texts").querySelector("textarea")?.focus();
}

byId("model").addEventListener("change", showModel);
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});
start().catch((error) => showProblem(`The server does not say which models it has: ${error.message}`));
