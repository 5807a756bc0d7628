"use strict";
// Shows the suspects, takes decisions on them and keeps them in this browser. What comes from a listing is only ever
// text of a node: nothing here makes HTML of a string, and the page's policy forbids it.
const at = id => document.getElementById(id);
const { key, categories, kinds, suspects } = JSON.parse(at("audit").textContent);
const who = at("who").elements, sift = at("sift").elements, list = at("list");
const NAME = "headstart decided by", OPTIONS = 50;
const count = number => number.toLocaleString("en");
const counted = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
// Capitals and accents apart, so that "bebe" finds "Bébé".
const fold = text => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const { compare } = new Intl.Collator(undefined, { numeric: true });
const tell = text => { at("status").textContent = text; };

function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A category amid other text; its direction of writing ends with it.
const named = name => make("bdi", {}, name);

// --- Decisions: a log, whose last entry on a listing counts; to undo is to drop the last one.

const DECISIONS = new Set(["agree", "keep", "skip", "other"]);
let log = [], decisions = new Map(), kept = true, saved = true;

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { kept = false; }
  at("notice").hidden = kept;
  at("kept").hidden = !kept;
}

function recalled(name) {
  try { return localStorage.getItem(name); } catch { kept = false; return null; }
}

function recall() {
  log = [];
  try { log = JSON.parse(recalled(key)).filter(each => items.has(each.id) && DECISIONS.has(each.decision)); } catch { }
  remember(key, JSON.stringify(log));
  changed();
}

function changed() {
  decisions = new Map(log.map(each => [each.id, each]));
  for (const item of items.values()) paint(item);
  show();
}

// What the decision is called that puts a listing into a category.
const called = (suspect, category) =>
  category === suspect.suggested ? "agree" : category === suspect.filed ? "keep" : "other";
const now = () => new Date().toISOString().slice(0, 19) + "Z";

function decide(item, decision, category) {
  const { suspect } = item, next = following(item);
  // Without a name it is given the one that is there when the file is saved.
  log.push({ id: suspect.id, decision, category, by: who.name.value.trim() || null, at: now() });
  saved = false;
  remember(key, JSON.stringify(log));
  changed();
  go(next ?? item);
  tell(`Listing ${suspect.rank}: ${said(item)}.${next ? "" : " No other one that is shown is undecided."}`);
}

function undo() {
  const last = log.pop();
  if (!last) return tell("Nothing to undo.");
  saved = false;
  remember(key, JSON.stringify(log));
  changed();
  const item = items.get(last.id);
  go(item);
  tell(`Listing ${item.suspect.rank}: ${said(item) || "undecided"} again.`);
}

function said({ suspect }) {
  const made = decisions.get(suspect.id);
  if (!made) return "";
  if (made.decision === "skip") return "skipped";
  return made.decision === "keep" ? `kept in ${suspect.filed}` : `goes to ${made.category}`;
}

// --- The listings.

function card(suspect, rank) {
  const text = make("p", { className: "text", dir: "auto" }, suspect.text || "No text.");
  if (suspect.rest) {
    const more = make("button", { type: "button" }, "Show all of it");
    more.addEventListener("click", () => {
      text.closest("article").focus({ preventScroll: true }); // the button, which had it, goes
      text.replaceChildren(suspect.text + suspect.rest);
    });
    text.append("… ", more);
  }
  const tag = (label, warning) => make("li", { className: warning ? "tag warning" : "tag" }, label);
  const buttons = [["agree", "Agree", "a"], ["keep", "Keep", "k"], ["other", "Other…", "o"], ["skip", "Skip", "s"]]
    .map(([name, label, letter]) => {
      const button = make("button", { type: "button" }, label, make("kbd", { ariaHidden: "true" }, letter));
      button.dataset.decision = name;
      return button;
    });
  const decided = make("span", { className: "decided" });
  const heading = make("h3", { id: `listing-${rank}` }, make("span", { className: "rank" }, `${rank}. `),
    named(suspect.filed), " → ", make("strong", {}, named(suspect.suggested)));
  const figures = make("p", { className: "figures" }, `Score ${suspect.score} · `, named(suspect.suggested),
    ` ${suspect.probability}, `, named(suspect.filed), ` ${suspect.filedProbability} · `,
    make("code", {}, named(suspect.id)));
  const photo = make("div", { className: "photo" }, suspect.photo
    ? make("img", { loading: "lazy", src: suspect.photo, alt: `Photo of ${suspect.id}` }) : suspect.lacks);
  const article = make("article", { className: "suspect", tabIndex: -1 }, photo, make("div", {}, heading, figures),
    make("div", { className: "about" }, text, make("p", { dir: "auto" }, suspect.reason),
      make("ul", { className: "tags", ariaLabel: "Evidence" }, ...suspect.evidence.map(kind => tag(kinds[kind])),
        ...suspect.unclear ? [tag("unclear pair", true)] : [],
        ...suspect.holdout ? [tag("holdout: to be looked at only", true)] : []),
      make("div", { className: "buttons" }, ...buttons, decided)));
  article.setAttribute("aria-labelledby", heading.id);
  const item = { suspect, article, buttons, decided };
  for (const button of buttons) button.addEventListener("click", () => ask(item, button.dataset.decision));
  return item;
}

function paint(item) {
  const told = said(item), made = decisions.get(item.suspect.id)?.decision;
  if (item.decided.textContent === told && item.painted) return;
  item.painted = true;
  item.decided.textContent = told;
  for (const button of item.buttons) button.ariaPressed = String(button.dataset.decision === made);
}

const ask = (item, decision) => decision === "other" ? choose(item)
  : decide(item, decision, { agree: item.suspect.suggested, keep: item.suspect.filed, skip: "" }[decision]);

function show() {
  const word = fold(sift.find.value.trim());
  const wanted = ({ suspect }, words) => (!sift.filed.value || suspect.filed === sift.filed.value)
    && (!sift.suggested.value || suspect.suggested === sift.suggested.value)
    && (!sift.evidence.value || suspect.evidence.includes(sift.evidence.value))
    && (!sift.state.value || decisions.has(suspect.id) === (sift.state.value === "decided"))
    && (!sift.unclear.value || suspect.unclear === (sift.unclear.value === "yes"))
    && (!word || words().includes(word));
  let shown = 0;
  for (const item of items.values()) {
    const { id, text, rest, filed, suggested, reason } = item.suspect;
    item.article.hidden = !wanted(item, () =>
      item.words ??= fold([id, text + rest, filed, suggested, reason].join("\n")));
    shown += !item.article.hidden;
  }
  at("none").hidden = shown > 0;
  at("counts").textContent = `${count(decisions.size)} of ${count(items.size)} decided, ${count(shown)} shown.`;
}

function sort() {
  const by = sift.sort.value;
  order.sort(({ suspect: a }, { suspect: b }) => by !== "rank" && compare(a[by], b[by]) || a.rank - b.rank);
  list.append(...order.map(item => item.article));
}

// --- From one to the next.

const visible = () => order.filter(item => !item.article.hidden);
const current = () => order.find(item => !item.article.hidden && item.article.contains(document.activeElement));
const undecided = item => !decisions.has(item.suspect.id);

function following(item) {
  const shown = visible(), place = shown.indexOf(item);
  return [...shown.slice(place + 1), ...shown.slice(0, Math.max(place, 0))].find(undecided);
}

function go(item) {
  if (!item || item.article.hidden) return;
  item.article.focus({ preventScroll: true });
  item.article.scrollIntoView({ block: "start" });
}

function step(by) {
  const shown = visible(), item = current();
  go(item ? shown[shown.indexOf(item) + by] : shown.find(undecided) ?? shown[0]);
}

function seen({ article }) {
  const { top, bottom } = article.getBoundingClientRect();
  return bottom > 0 && top < innerHeight - document.querySelector(".bar").offsetHeight;
}

// --- Another category.

let choosing = null, options = [], active = -1;
const dialog = at("other"), field = at("other-name");

function choose(item) {
  choosing = item;
  field.value = "";
  at("other-listing").replaceChildren("Instead of ", named(item.suspect.filed), " or ", named(item.suspect.suggested));
  offer();
  dialog.showModal();
  field.focus();
}

function offer() {
  const word = fold(field.value.trim()), found = categories.filter(name => fold(name).includes(word));
  options = found.slice(0, OPTIONS);
  at("other-list").replaceChildren(...options.map((name, place) => {
    const option = make("li", { id: `option-${place}`, role: "option" }, named(name));
    option.addEventListener("click", () => take(place));
    return option;
  }));
  at("other-more").textContent = found.length > OPTIONS
    ? `${count(OPTIONS)} of ${counted(found.length, "category", "categories")}: type more of its name.`
    : counted(found.length, "category", "categories") + ".";
  point(word && options.length ? 0 : -1);
}

function point(place) {
  active = place;
  [...at("other-list").children].forEach((option, number) => { option.ariaSelected = String(number === place); });
  if (place < 0) return field.removeAttribute("aria-activedescendant");
  field.setAttribute("aria-activedescendant", `option-${place}`);
  at(`option-${place}`).scrollIntoView({ block: "nearest" });
}

function take(place) {
  if (!(place in options)) return;
  const item = choosing, category = options[place];
  dialog.close();
  decide(item, called(item.suspect, category), category);
}

field.addEventListener("input", offer);
field.addEventListener("keydown", event => {
  if (event.isComposing) return;
  const moves = { ArrowDown: 1, ArrowUp: -1 }, by = moves[event.key];
  if (by) point(options.length ? (Math.max(active + by, by < 0 ? -1 : 0) + options.length) % options.length : -1);
  else if (event.key === "Enter") take(active);
  else return;
  event.preventDefault();
});

// --- decisions.csv.

const COLUMNS = ["id", "filed", "decision", "category", "decided_by", "decided_at", "holdout"];
// A spreadsheet takes for a formula what begins so; one more ' before it, which headstart takes away again.
const guarded = text => /^'*[=+\-@\t\r]/.test(text) ? `'${text}` : text;
const unguarded = text => /^'+[=+\-@\t\r]/.test(text) ? text.slice(1) : text;
const quoted = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;

function csv() {
  const rows = [...items.values()].filter(item => !undecided(item)).map(({ suspect }) => {
    const made = decisions.get(suspect.id);
    return [suspect.id, suspect.filed, made.decision, made.category, made.by ?? who.name.value.trim(), made.at,
      String(suspect.holdout)];
  });
  return [COLUMNS, ...rows].map(row => row.map(cell => quoted(guarded(cell))).join(",") + "\r\n").join("");
}

function save() {
  if (!decisions.size) return tell("Nothing is decided yet.");
  const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv;charset=utf-8" }));
  make("a", { href: address, download: "decisions.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  saved = true;
  tell(`${counted(decisions.size, "decision is", "decisions are")} in decisions.csv.`);
}

function parsed(text) {
  // Where a comma is the decimal mark, Excel puts semicolons between the cells.
  const head = text.split(/[\r\n]/, 1)[0], mark = head.split(";").length > head.split(",").length ? ";" : ",";
  const cells = new RegExp(`("[^"]*(?:""[^"]*)*"|[^${mark}\\r\\n]*)(${mark}|\\r\\n|\\n|\\r|$)`, "gy");
  const rows = [];
  let row = [];
  for (const [, cell, end] of text.matchAll(cells)) {
    row.push(unguarded(cell.startsWith('"') && cell.length > 1 ? cell.slice(1, -1).replaceAll('""', '"') : cell));
    if (end === mark) continue;
    if (row.length > 1) rows.push(row);
    row = [];
  }
  return rows;
}

function load(text) {
  const [header = [], ...rows] = parsed(text.replace(/^\uFEFF/, ""));
  if (!COLUMNS.slice(0, 4).every(name => header.includes(name)))
    return tell(`Not taken: its first line lacks the columns ${COLUMNS.slice(0, 4).join(", ")}.`);
  let taken = 0, older = 0, foreign = 0;
  for (const row of rows) {
    const cell = name => row[header.indexOf(name)] ?? "", suspect = items.get(cell("id"))?.suspect;
    const category = cell("decision") === "keep" ? cell("filed") : cell("category"), skip = cell("decision") === "skip";
    const decision = skip ? "skip" : called(suspect ?? {}, category), before = decisions.get(suspect?.id);
    const stamp = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(cell("decided_at")) ? cell("decided_at") : now();
    if (suspect?.filed !== cell("filed") || !DECISIONS.has(cell("decision")) || !skip && !categories.includes(category))
      foreign += 1;
    else if (before?.at > stamp) older += 1;
    else {
      taken += 1;
      if (before?.at === stamp && before.decision === decision && before.category === category) continue; // saved here
      log.push({ id: suspect.id, decision, category: skip ? "" : category, by: cell("decided_by"), at: stamp });
    }
  }
  remember(key, JSON.stringify(log));
  changed();
  tell(`${counted(taken, "decision", "decisions")} taken`
    + (older ? `, ${counted(older, "one", "ones")} older than what is decided here` : "")
    + (foreign ? `, ${counted(foreign, "row", "rows")} not of this audit` : "") + ".");
}

// --- Keys and buttons.

const KEYS = {
  j: () => step(1), p: () => step(-1), u: undo, e: save, "?": () => at("legend").showModal(),
  "/": () => { sift.find.focus(); sift.find.scrollIntoView({ block: "center" }); },
};

function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented) return;
  if (!who.keys.checked || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key, item = current();
  const decision = { a: "agree", k: "keep", o: "other", s: "skip" }[letter], by = { ArrowDown: 1, ArrowUp: -1 }[letter];
  if (decision) {
    // A key held down decides once, and never on what nobody looks at.
    if (!event.repeat) item && seen(item) ? ask(item, decision) : item ? go(item) : step(1);
  } else if (by && item) step(by);
  else if (KEYS[letter]) event.repeat && "ue".includes(letter) || KEYS[letter]();
  else return;
  event.preventDefault();
}

const items = new Map(suspects.map((suspect, place) => {
  suspect.rank = place + 1;
  return [suspect.id, card(suspect, place + 1)];
}));
const order = [...items.values()];
for (const name of ["filed", "suggested"]) {
  const sizes = new Map();
  for (const suspect of suspects) sizes.set(suspect[name], 1 + (sizes.get(suspect[name]) ?? 0));
  for (const each of [...sizes.keys()].sort(compare)) sift[name].add(new Option(`${each} (${count(sizes.get(each))})`, each));
}
for (const [kind, label] of Object.entries(kinds)) sift.evidence.add(new Option(label, kind));
who.name.value = recalled(NAME) ?? "";
sort();
recall();

addEventListener("keydown", pressed);
addEventListener("storage", event => { if (event.key === key || event.key === null) recall(); }); // another window's
addEventListener("beforeunload", event => { if (!kept && !saved) event.preventDefault(); });
for (const form of document.querySelectorAll("#who, #sift")) form.addEventListener("submit", event => event.preventDefault());
at("sift").addEventListener("input", event => { if (event.target === sift.sort) sort(); show(); });
sift.find.addEventListener("keydown", event => { if (event.key === "Enter") go(visible()[0]); });
who.name.addEventListener("input", () => remember(NAME, who.name.value.trim()));
at("undo").addEventListener("click", undo);
at("save").addEventListener("click", save);
at("help").addEventListener("click", KEYS["?"]);
at("load").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", async ({ target }) => {
  if (target.files.length) load(await target.files[0].text());
  target.value = ""; // the same file may be loaded again
});
