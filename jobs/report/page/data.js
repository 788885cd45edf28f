
"use strict";
// What the page holds, and how it is reached. Texts of samples are hostile: they only ever become text nodes.

const $ = (id) => document.getElementById(id);
const told = JSON.parse($("facts").textContent);
const samples = JSON.parse($("samples").textContent);

const columns = samples.columns.map(({ name, numbers, values, places }) => ({
  name, numbers, at: places ? (sample) => values[places[sample]] : (sample) => values[sample],
}));
const column = (name) => columns.find((one) => one.name === name);
const [keyOf, promptOf, statusOf, reasonOf] = ["key", "prompt", "status", "reason"].map((name) => column(name).at);

// Where in its chunk each thumbnail begins.
const begins = new Uint32Array(samples.count);
for (let sample = 1; sample < samples.count; sample++)
  begins[sample] = sample % samples.chunk ? begins[sample - 1] + samples.thumbnail[sample - 1] : 0;

const chunks = new Map();
function chunk(kind, sample) {
  const id = `${kind}-${Math.floor(sample / samples.chunk)}`;
  if (!chunks.has(id)) chunks.set(id, $(id).textContent);
  return chunks.get(id);
}

function thumbnail(sample) {
  const text = chunk("thumbnails", sample).slice(begins[sample], begins[sample] + samples.thumbnail[sample]);
  return text && `data:image/jpeg;base64,${text}`;
}

async function info(sample) {
  const bytes = Uint8Array.from(atob(chunk("infos", sample)), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return (await new Response(stream).json())[sample % samples.chunk];
}

// A json's own words, its numbers too, a line for each value.
function indented(text) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  const words = text.match(/"(?:[^"\\]|\\.)*"|[[{]\s*[\]}]|[^\s"]/gs).map((word) => {
    if (word === "{" || word === "[") { depth++; return word + line(); }
    if (word === "}" || word === "]") { depth--; return line() + word; }
    return word === "," ? word + line() : word === ":" ? ": " : word;
  });
  return words.join("");
}

// Elements and words.

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const tiny = new Intl.NumberFormat("en", { notation: "scientific", maximumSignificantDigits: 3 });
function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return whole.format(value);
  return Math.abs(value) < 1e-3 ? tiny.format(value) : short.format(value);
}
const count = (value, noun) => `${whole.format(value)} ${noun}${value === 1 ? "" : "s"}`;
const said = (value) => (value === null || value === undefined ? "–" : typeof value === "number" ? number(value) : value);

// Of samples: their places, not what they are like.
const PLACES = new Set(["sample_index", "prompt_index", "repeat", "seed", "shard", "batch_position"]);
const shownValue = (one, sample) => (PLACES.has(one.name) ? String(one.at(sample) ?? "–") : said(one.at(sample)));

function duration(seconds) {
  if (seconds < 120) return `${number(Math.round(seconds * 10) / 10)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${number(Math.round(seconds / 360) / 10)} h` : `${number(Math.round(seconds / 8640) / 10)} days`;
}
const moment = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC";

// Signs that turn the direction of a text, or end its line, are shown as JSON's escapes of them.
const SIGNS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const visible = (text) => text.replace(SIGNS, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
