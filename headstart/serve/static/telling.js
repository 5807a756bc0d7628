// What is said of an answer, as text: no function here touches the page.
import { WORDS } from "./words.js";

const LARGEST = 3; // categories that are suggested; see Rules in headstart/heads/calibration.py

export const LANGUAGES = Object.keys(WORDS);
let language = "en";

export function speak(name) {
  language = name;
}

export function say(name, values = {}) {
  const text = WORDS[language][name].replace(/ (?=[:;?!%])/g, "\u00a0");
  return text.replace(/\{(\w+)\}/g, (_, value) => values[value]);
}

export const decimal = number => number.toLocaleString(language, { maximumFractionDigits: 1 });

// Whole percents, and no certainty that nobody has.
export function share(probability) {
  if (probability >= 0.995) return say("above");
  return probability < 0.01 ? say("below") : `${Math.round(probability * 100)}\u00a0%`;
}

// What is done about the listing, and why: a heading and a sentence.
export function decided({ decision, candidates: count, read }) {
  if (decision === "accept") return [say("accept"), say("acceptWhen")];
  if (decision === "suggest")
    return count === 1 ? [say("confirm"), say("confirmWhen")] : [say("among", { count }), say("amongWhen")];
  const why = read === "nothing" ? "nothing" : count < 0 ? "uncalibrated" : count === 0 ? "unlike"
    : count > LARGEST ? "many" : "undecided";
  return [say("person"), say(why, { count })];
}

// "Sure" is only what is accepted: elsewhere the same probability was not enough.
export function certainty({ decision, probability }) {
  const how = probability < 0.5 ? "unsure" : decision === "accept" && probability >= 0.9 ? "sure" : "likely";
  return say(how, { share: share(probability) });
}

// What of the listing was read, and what of it was not.
export function reading({ read, given }) {
  const told = { text: ["readText"], image: ["readImage"], "text+image": ["readBoth"] }[read] ?? [];
  if (given.text && !read.includes("text")) told.push("unusedText");
  if (given.image && !read.includes("image")) told.push("unusedImage");
  return told.map(name => say(name));
}

// The categories in "a | b". A name may hold a bar itself; those of the most probable categories are known.
export function names(joined, known) {
  const found = [], mark = " | ";
  while (joined) {
    const whole = known.filter(name => joined === name || joined.startsWith(name + mark));
    const [name] = [...whole, joined.split(mark, 1)[0]].sort((a, b) => b.length - a.length);
    found.push(name);
    joined = joined.slice(name.length + mark.length);
  }
  return found;
}
