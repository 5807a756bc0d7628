// Sends a listing to the model and tells its answer in plain words. What comes from a listing or from the server is only
// ever text of a node: nothing here makes HTML of a string.
import { LANGUAGES, certainty, decided, decimal, names, reading, say, share, speak } from "./telling.js";

const at = id => document.getElementById(id);
const { model, keys, bodyMb } = document.body.dataset;
const BODY = Number(bodyMb) * 2 ** 20; // bytes
const PHOTO = Math.floor((BODY - 1e5) * 3 / 4); // base64 makes four bytes of three; the rest is for the text
const PAUSE = 700; // ms without a key before the listing is sent
const PATIENCE = 60_000; // ms; the server itself gives up sooner

function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A storage that the browser withholds is one that forgets.
function recalled(storage, name) {
  try { return window[storage].getItem(name) ?? ""; } catch { return ""; }
}

function remember(storage, name, value) {
  try { window[storage].setItem(name, value); } catch { /* it is asked for again */ }
}

// --- Language.

const LANGUAGE = "headstart language", KEY = "headstart key";
let language = [recalled("localStorage", LANGUAGE), ...navigator.languages.map(tag => tag.slice(0, 2).toLowerCase())]
  .find(tag => LANGUAGES.includes(tag)) ?? "en";

const megabytes = bytes => decimal(bytes / 1e6);
const limit = () => decimal(Math.floor(PHOTO / 1e5) / 10); // never more than is taken

function translate() {
  speak(language);
  document.documentElement.lang = language;
  document.title = `${say("title")} · ${model}`;
  for (const node of document.querySelectorAll("[data-say]"))
    node.textContent = say(node.dataset.say, { limit: limit() });
  for (const node of document.querySelectorAll("[data-label]")) node.ariaLabel = say(node.dataset.label);
  for (const button of at("languages").children) button.ariaPressed = String(button.value === language);
  showPhoto();
  render();
}

at("languages").addEventListener("click", ({ target }) => {
  if (!target.value) return;
  language = target.value;
  remember("localStorage", LANGUAGE, language);
  translate();
});

// --- The listing: what is typed, and a photo.

const form = at("listing"), text = at("text"), key = at("key"), input = at("photo");
let photo = null; // { file, address, encoded }, where encoded promises the file's bytes in base64

const written = () => text.value.trim() !== "";

function encoded(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.addEventListener("error", () => reject(new Problem("photoGone")));
    reader.readAsDataURL(file);
  });
}

function put(file) {
  if (file.type && !file.type.startsWith("image/")) return refuse(new Problem("noPhoto"));
  if (file.size > PHOTO)
    return refuse(new Problem("photoHeavy", { values: () => ({ size: megabytes(file.size), limit: limit() }) }));
  forget();
  photo = { file, address: URL.createObjectURL(file), encoded: encoded(file) };
  photo.encoded.catch(() => {}); // told when it is sent
  at("preview").src = photo.address;
  showPhoto();
  changed();
}

// What is refused is not sent, and what was there before stays.
function refuse(problem) {
  stop();
  show({ problem });
}

function forget() {
  if (photo) URL.revokeObjectURL(photo.address);
  photo = null;
  input.value = ""; // so that the same file can be chosen again
  at("preview").removeAttribute("src");
  at("preview").hidden = at("no-preview").hidden = true;
}

function showPhoto() {
  at("zone").classList.toggle("filled", photo !== null);
  at("choose").textContent = say(photo ? "change" : "choose");
  at("remove").hidden = at("photo-name").hidden = !photo;
  at("photo-name").textContent = photo
    ? say("named", { name: photo.file.name, size: megabytes(Math.max(photo.file.size, 1e5)) }) : "";
  at("preview").alt = say("preview");
}

at("preview").addEventListener("load", () => { at("preview").hidden = false; });
at("preview").addEventListener("error", () => { at("no-preview").hidden = false; }); // the server may know its format
input.addEventListener("change", () => { if (input.files[0]) put(input.files[0]); });
at("remove").addEventListener("click", () => {
  forget();
  showPhoto();
  input.focus(); // the button, which had it, goes
  changed();
});

// Dropped anywhere; otherwise the browser would leave the page for the photo.
for (const kind of ["dragover", "dragleave", "drop"])
  document.addEventListener(kind, event => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    at("zone").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) put(event.dataTransfer.files[0]);
  });

document.addEventListener("paste", event => {
  const { files, types } = event.clipboardData;
  // Office programs add a picture of the text that is copied.
  if (!files.length || types.includes("text/plain")) return;
  event.preventDefault();
  put(files[0]);
});

text.addEventListener("input", changed);
key.addEventListener("input", () => {
  remember("sessionStorage", KEY, key.value.trim());
  changed();
});
at("clear").addEventListener("click", () => {
  text.value = "";
  forget();
  showPhoto();
  changed();
  text.focus();
});

// --- Asking. What was asked before the last change is never shown.

let running = null, timer = 0;

// What is told instead of an answer: a name of words.js, what its braces hold, the server's own line, the field to mend.
class Problem extends Error {
  constructor(name, { values = () => ({}), detail = "", field = null, again = false } = {}) {
    super(name);
    Object.assign(this, { name, values, detail, field, again });
  }
}

function stop() {
  clearTimeout(timer);
  running?.abort();
  running = null;
}

function changed() {
  stop();
  if (!written() && !photo) return show({});
  show({ waiting: true });
  timer = setTimeout(ask, PAUSE);
}

// Whether what came of it was shown.
async function ask() {
  stop();
  show({ waiting: true });
  const mine = running = new AbortController();
  const late = setTimeout(() => mine.abort(), PATIENCE);
  let told;
  try {
    told = { answer: await answered(mine.signal) };
  } catch (problem) {
    const known = problem instanceof Problem;
    told = { problem: known ? problem : new Problem(mine.signal.aborted ? "slow" : "offline", { again: true }) };
  }
  clearTimeout(late);
  if (mine !== running) return false; // overtaken
  running = null;
  show(told);
  return true;
}

async function pressed() {
  if (!await ask()) return;
  if (state.problem?.field) return state.problem.field.focus();
  // On a phone the answer lies below the button.
  const { top } = at("answer").getBoundingClientRect();
  if (top < 0 || top > innerHeight * 0.6) at("answer").scrollIntoView({ block: "start" });
}

form.addEventListener("submit", event => {
  event.preventDefault();
  pressed();
});
at("again").addEventListener("click", () => {
  form.querySelector("[type=submit]").focus({ preventScroll: true }); // the button, which had it, goes
  pressed();
});
document.addEventListener("keydown", event => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing || event.repeat) return;
  event.preventDefault();
  pressed();
});

// The answer to the listing as it is now, with what was given and which version answered.
async function answered(signal) {
  const given = { text: written(), image: photo !== null }, instance = {}, secret = key.value.trim();
  if (!given.text && !given.image) throw new Problem("noListing", { field: text });
  if (!secret && !at("key-field").hidden) throw new Problem("noKey", { field: key });
  if (/[^\x21-\x7e]/.test(secret)) throw new Problem("wrongKey", { field: key }); // no header takes it
  if (given.text) instance.text = text.value;
  if (given.image) instance.image_bytes = { b64: await photo.encoded };
  const body = JSON.stringify({ instances: [instance] });
  if (new Blob([body]).size > BODY) throw tooLarge();
  const headers = { "Content-Type": "application/json" };
  if (secret) headers.Authorization = `Bearer ${secret}`;
  const response = await fetch(`v1/models/${encodeURIComponent(model)}:predict`, {
    method: "POST", headers, body, signal, cache: "no-store", redirect: "error",
  });
  const said = await response.json().catch(() => ({}));
  signal.throwIfAborted();
  const row = said.predictions?.[0];
  if (!response.ok || !row || row.error) {
    const detail = String(row?.error ?? said.error ?? "").replace(/^instances\[0\]: /, ""); // there is only one
    throw failed(response, detail, given);
  }
  return { ...row, given, version: response.headers.get("X-Model-Version") };
}

const tooLarge = () => new Problem("tooLarge", { values: () => ({ limit: decimal(BODY / 1e6) }) });

function failed(response, detail, given) {
  const seconds = Math.max(1, Math.ceil(Number(response.headers.get("Retry-After"))) || 1);
  const wait = { again: true, values: () => ({ seconds }) };
  switch (response.status) {
    case 200: case 400:
      if (!detail) return new Problem("broken", { again: true });
      if (!given.image || !/photo|image/i.test(detail)) return new Problem("refused", { detail, again: true });
      return new Problem(/pixels|too large|memory/.test(detail) ? "photoPixels" : "photoUnreadable", { detail, field: input });
    case 401: case 403:
      at("key-field").hidden = false; // should keys be needed only since the page was opened
      return new Problem("wrongKey", { field: key });
    case 404: return new Problem("unserved", { detail });
    case 408: case 504: return new Problem("slow", { again: true });
    case 413: return tooLarge();
    case 429: return new Problem("busy", wait);
    case 503: return new Problem("notReady", wait);
    default: return new Problem("broken", { detail, again: true });
  }
}

// --- Telling.

let state = {}; // one of { answer }, { problem }, { waiting } or nothing

function show(next) {
  state = next;
  render();
}

function render() {
  const { answer, problem, waiting = false } = state;
  at("empty").hidden = Boolean(answer || problem || waiting);
  at("waiting").hidden = !waiting;
  at("answer").ariaBusy = String(waiting);
  at("verdict").replaceChildren(...answer ? verdict(answer) : []);
  at("details").replaceChildren(...answer ? details(answer) : []);
  at("details").hidden = !answer;
  at("problem").replaceChildren(...problem ? sentences(problem) : []);
  at("again").hidden = !problem?.again;
  at("answer-title").classList.toggle("unseen", Boolean(answer)); // an answer needs no heading to be seen
  for (const field of [text, key, input]) field.ariaInvalid = String(problem?.field === field);
}

function sentences({ name, values, detail }) {
  const told = [make("p", { className: "trouble" }, say(name, values()))];
  if (detail) told.push(make("p", { className: "note" }, say("told", { detail })));
  return told;
}

function verdict(answer) {
  const [heading, why] = decided(answer);
  const decision = make("div", { className: `decision ${answer.decision}` },
    make("p", { className: "done" }, heading), make("p", {}, why));
  if (answer.read === "nothing") return [decision]; // its category would be a guess without any evidence
  const called = { accept: "proposed", suggest: "likeliest" }[answer.decision] ?? "nearest";
  return [
    make("p", { className: "kind" }, say(called)),
    make("p", { className: "category", dir: "auto" }, answer.category),
    make("p", { className: "sure" }, certainty(answer)),
    decision,
  ];
}

function details(answer) {
  const { top, top_probability: shares, read, version } = answer;
  const told = [];
  if (read !== "nothing") {
    const suggested = names(answer.suggested, top), others = suggested.filter(name => !top.includes(name));
    const bars = [...top.map((name, place) => [name, shares[place]]), ...others.map(name => [name, null])];
    const title = make("h3", { id: "ranking" }, say("ranking"));
    const list = make("ol", { className: "bars" },
      ...bars.map(([name, probability]) => bar(name, probability, suggested.length > 1 && suggested.includes(name))));
    list.setAttribute("aria-labelledby", title.id);
    told.push(title, list);
  }
  const sources = [...reading(answer), say(version ? "model" : "unversioned", { model, version })];
  return [...told, make("p", { className: "note" }, sources.join(" "))];
}

function bar(name, probability, possible) {
  const row = make("li", { className: possible ? "possible" : "" }, make("bdi", { className: "name" }, name));
  if (possible) row.append(make("span", { className: "tag" }, say("possible")));
  if (probability === null) return row;
  const length = make("span", { className: "bar", ariaHidden: "true" });
  length.style.setProperty("--share", probability);
  row.append(make("span", { className: "share" }, share(probability)), length);
  return row;
}

at("key-field").hidden = keys !== "yes";
key.value = recalled("sessionStorage", KEY);
translate();
// What the browser kept of an earlier visit is a listing as well.
if (input.files[0]) put(input.files[0]);
else if (written()) changed();
