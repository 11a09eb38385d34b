// The page: asks /v1/predict as you type. Everything that comes from a text or a model goes in as text, never as HTML.

const PAUSE = 150; // milliseconds without a key before the server is asked
const SETTLED = 1500; // before what was typed counts as an entry of the history
const MOST_LABELS = 8; // shown with a bar
const MOST_ENTRIES = 20;

const at = (id) => document.getElementById(id);
const text = at("text");

let models = [];
let asking = null; // the AbortController of the question under way
let timers = [];
let history = [];

const percent = (value) => `${(100 * value).toFixed(1)}\u00a0%`;

function element(name, className, content) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = content;
  return made;
}

class Problem extends Error {}

async function fetchJson(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server cannot be reached. Is seqcls serve still running?");
  }
  const answer = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Problem(`The server's answer (${response.status}) cannot be read.`);
  });
  if (!response.ok) throw new Problem(answer.detail ?? `The server answered ${response.status}.`);
  return answer;
}

function ask(content, explain, signal) {
  return fetchJson("v1/predict", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ texts: content.toWellFormed?.() ?? content, model: at("model").value, explain }),
    signal,
  });
}

function onInput() {
  asking?.abort();
  timers.forEach(clearTimeout);
  at("clear").disabled = !text.value;
  at("answer").classList.add("old");
  if (!text.value.trim()) {
    showProblem(null);
    at("answer").hidden = true;
    at("empty").hidden = false;
    return;
  }
  timers = [setTimeout(answer, PAUSE)];
}

// The label first, which is quick; then why.
async function answer() {
  const content = text.value;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  let labelled = false;
  try {
    const [prediction] = (await ask(content, false, signal)).predictions;
    showPrediction(prediction);
    showProblem(null);
    labelled = true;
    timers.push(setTimeout(() => remember(content, prediction), SETTLED));
    const [explained] = (await ask(content, true, signal)).predictions;
    showExplanation(content, explained.explanation);
    at("answer").classList.remove("old");
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    showProblem(error.message);
    at("answer").hidden = !labelled; // what is there still belongs to another text
  }
}

function showProblem(message) {
  at("problem").hidden = message === null;
  at("problem-text").textContent = message ?? "";
  if (message !== null) at("empty").hidden = true;
}

function said(prediction) {
  if (prediction.labels) return prediction.labels.length ? prediction.labels.join(", ") : "no label";
  return prediction.label;
}

function showPrediction(prediction) {
  at("empty").hidden = true;
  at("answer").hidden = false;
  at("label").textContent = said(prediction);
  at("confidence").textContent = percent(prediction.confidence);
  at("warning").hidden = prediction.unknown < 1;
  at("warning").textContent = "The model knows none of these words: its answer means nothing.";
  const ranked = Object.entries(prediction.probabilities).sort((one, other) => other[1] - one[1]);
  at("probabilities").replaceChildren(
    ...ranked.slice(0, MOST_LABELS).map(([name, value]) => {
      const item = document.createElement("li");
      const label = element("span", "name", name);
      label.title = name;
      const bar = element("span", "bar", "");
      const filled = element("span", "", "");
      filled.style.setProperty("--share", value);
      bar.append(filled);
      item.append(label, bar, element("span", "number", percent(value)));
      return item;
    }),
  );
}

// Places are counted in Unicode characters, JavaScript's strings in halves of some.
function showExplanation(content, explanation) {
  const characters = Array.from(content);
  const largest = Math.max(...explanation.tokens.map((token) => Math.abs(token.contribution))) || 1;
  const pieces = [];
  let place = 0;
  for (const { start, end, contribution } of explanation.tokens) {
    if (start > place) pieces.push(document.createTextNode(characters.slice(place, start).join("")));
    if (end > Math.max(start, place)) {
      const side = contribution > 0 ? "for" : "against";
      const piece = element("span", `token ${side}`, characters.slice(Math.max(start, place), end).join(""));
      piece.style.setProperty("--strength", Math.abs(contribution) / largest);
      piece.title = `${contribution > 0 ? "+" : "−"}${Math.abs(contribution).toFixed(2)} ${side} ${explanation.label}`;
      pieces.push(piece);
    }
    place = Math.max(place, end);
  }
  pieces.push(document.createTextNode(characters.slice(place).join("")));
  at("why").replaceChildren(...pieces);
  at("explained").textContent = explanation.label;
  const read = explanation.tokens.length;
  at("cut").hidden = read === explanation.num_tokens;
  at("cut").textContent = `The model reads ${read} of the ${explanation.num_tokens} tokens; the others have no colour.`;
}

function remember(content, prediction) {
  // A text that grew out of the last one takes its place.
  if (history.length && content.startsWith(history[0].content)) history.shift();
  history = [{ content, prediction }, ...history.filter((entry) => entry.content !== content)].slice(0, MOST_ENTRIES);
  showHistory();
}

function showHistory() {
  at("no-history").hidden = history.length > 0;
  at("forget").hidden = !history.length;
  at("history").replaceChildren(
    ...history.map(({ content, prediction }) => {
      const item = document.createElement("li");
      const button = element("button", "", "");
      button.type = "button";
      button.append(
        element("strong", "", `${said(prediction)} ${percent(prediction.confidence)}`),
        element("span", "", content.slice(0, 300)),
      );
      button.addEventListener("click", () => write(content));
      item.append(button);
      return item;
    }),
  );
}

function write(content) {
  text.value = content;
  text.focus();
  onInput();
}

function showModel() {
  const model = models.find(({ name }) => name === at("model").value);
  const labels = model.labels.slice(0, 6).join(", ") + (model.labels.length > 6 ? ", …" : "");
  at("about").textContent = `${model.name}: ${model.encoder}, ${model.parameters.toLocaleString("en")} weights, says ${labels}`;
  at("examples").hidden = !model.examples.length;
  at("examples").replaceChildren(
    ...model.examples.map((example) => {
      const button = element("button", "", example);
      button.type = "button";
      button.addEventListener("click", () => write(example));
      return button;
    }),
  );
}

async function start() {
  try {
    ({ models } = await fetchJson("v1/models"));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    at("about").textContent = "No model";
    showProblem(error.message);
    return;
  }
  at("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
  at("choice").hidden = models.length < 2;
  showModel();
  if (text.value) onInput();
}

text.addEventListener("input", onInput);
at("clear").addEventListener("click", () => write(""));
at("model").addEventListener("change", () => {
  showModel();
  onInput();
});
at("forget").addEventListener("click", () => {
  history = [];
  showHistory();
  text.focus();
});
at("retry").addEventListener("click", () => {
  text.focus();
  if (models.length) answer();
  else {
    showProblem(null);
    start();
  }
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Escape") write("");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && text.value.trim()) {
    event.preventDefault();
    const content = text.value;
    ask(content, false).then(
      ({ predictions }) => remember(content, predictions[0]),
      (error) => showProblem(error.message),
    );
  }
});

start();
