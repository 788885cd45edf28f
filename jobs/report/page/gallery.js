
// The samples: which of them, in which order, a page at a time.

const PAGE = 60;
const state = { order: [], page: 0, ascending: true, filters: [] };
const everything = Array.from({ length: samples.count }, (_, sample) => sample);

function choose() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = $("status").value;
  const filters = state.filters.filter((one) => one.test);
  const kept = everything.filter((sample) => {
    if (wanted && statusOf(sample) !== wanted) return false;
    if (words.length) {
      const text = `${promptOf(sample)} ${keyOf(sample)} ${reasonOf(sample)}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) return false;
    }
    return filters.every((one) => one.test(sample));
  });
  const sorted = columns[$("sort").value];
  if (sorted) {
    const turn = state.ascending ? 1 : -1;
    const none = (value) => value === null || value === undefined || value === "";
    kept.sort((one, other) => {
      const [a, b] = [sorted.at(one), sorted.at(other)];
      if (none(a) || none(b)) return none(a) - none(b); // without a value they are last either way
      return a < b ? -turn : a > b ? turn : one - other;
    });
  }
  state.order = kept;
  state.page = 0;
  show();
}

function show(focused = null) {
  const pages = Math.max(1, Math.ceil(state.order.length / PAGE));
  state.page = Math.min(Math.max(state.page, 0), pages - 1);
  const begin = state.page * PAGE;
  $("cards").replaceChildren(...state.order.slice(begin, begin + PAGE).map((sample, place) => element("li", {}, card(sample, begin + place))));
  $("found").textContent = state.order.length === samples.count ? count(samples.count, "sample")
    : `${whole.format(state.order.length)} of ${count(samples.count, "sample")}`;
  $("page").value = state.page + 1;
  $("page").max = pages;
  $("pages").textContent = `of ${whole.format(pages)}`;
  $("previous-page").disabled = state.page === 0;
  $("next-page").disabled = state.page === pages - 1;
  $("pager").hidden = pages === 1;
  if (focused !== null) $("cards").children[Math.min(focused, $("cards").childElementCount - 1)]?.firstChild.focus();
}

function card(sample, place) {
  const sorted = columns[$("sort").value];
  const value = statusOf(sample) === "failed" ? "given up"
    : sorted && sorted.name !== "prompt" ? `${visible(sorted.name)}: ${shownValue(sorted, sample)}` : keyOf(sample);
  const made = element("button", { type: "button", className: `card ${statusOf(sample)}` }, picture(sample),
    element("span", { className: "words" },
      element("span", { className: "prompt", dir: "auto" }, promptOf(sample)),
      element("span", { className: "value", dir: "auto" }, value)));
  made.addEventListener("click", () => open(place));
  return made;
}

function picture(sample) {
  const source = thumbnail(sample);
  if (!source) return element("span", { className: "picture none", dir: "auto" }, samples.trouble[sample] ?? reasonOf(sample));
  const frames = samples.frames[sample];
  const image = element("img", { alt: "", decoding: "async", src: source });
  if (frames === 1) return element("span", { className: "picture" }, image);
  const film = element("span", { className: "film" }, image);
  image.style.width = `${100 * frames}%`;
  [0.25, 0.5, 0.75].forEach((share, turn) => film.style.setProperty(["--second", "--third", "--last"][turn], Math.floor(frames * share)));
  image.addEventListener("load", () => { // one frame is to be as large as fits, whatever its shape
    const shape = image.naturalWidth / frames / image.naturalHeight;
    film.style.aspectRatio = shape;
    film.style[shape > 1 ? "width" : "height"] = "100%";
  });
  return element("span", { className: "picture" }, film);
}

function addFilter(chosen = null, from = "", to = "", last = true) {
  const filter = { test: null };
  const names = element("select", { "aria-label": "column of the filter" },
    ...columns.map((one, place) => element("option", { value: place }, visible(one.name))));
  if (chosen) names.value = columns.indexOf(chosen);
  const least = element("input", { type: "number", step: "any", "aria-label": "at least", placeholder: "at least", value: from });
  const most = element("input", { type: "number", step: "any", "aria-label": "at most", placeholder: "at most", value: to });
  const text = element("input", { type: "text", "aria-label": "contains", placeholder: "contains" });
  const remove = element("button", { type: "button" }, "Remove");
  const row = element("li", {}, names, least, most, text, remove);
  const read = () => {
    const one = columns[names.value];
    [least.hidden, most.hidden, text.hidden] = [!one.numbers, !one.numbers, one.numbers];
    const [low, high] = [least, most].map((input) => (input.value === "" ? null : Number(input.value)));
    const words = text.value.toLowerCase();
    if (one.numbers) {
      const below = last ? (value) => value <= high : (value) => value < high;
      filter.test = low === null && high === null ? null : (sample) => {
        const value = one.at(sample);
        return value !== null && (low === null || value >= low) && (high === null || below(value));
      };
    } else filter.test = words ? (sample) => String(one.at(sample) ?? "").toLowerCase().includes(words) : null;
    choose();
  };
  const edited = () => { last = true; read(); };
  for (const input of [names, least, most, text]) input.addEventListener("input", edited);
  remove.addEventListener("click", () => {
    state.filters.splice(state.filters.indexOf(filter), 1);
    row.remove();
    choose();
    $("add-filter").focus();
  });
  state.filters.push(filter);
  $("filters").append(row);
  read();
  return names;
}

function turn(pages) {
  state.page += pages;
  show(0);
}

function tools() {
  $("sort").append(element("option", { value: "" }, "order of the run"),
    ...columns.map((one, place) => element("option", { value: place }, visible(one.name))));
  for (const one of new Set(everything.map(statusOf))) $("status").append(element("option", { value: one }, one));
  for (const id of ["search", "status", "sort"]) $(id).addEventListener("input", choose);
  $("direction").addEventListener("click", () => {
    state.ascending = !state.ascending;
    $("direction").textContent = state.ascending ? "ascending" : "descending";
    $("direction").setAttribute("aria-pressed", !state.ascending);
    choose();
  });
  $("add-filter").addEventListener("click", () => addFilter().focus());
  $("previous-page").addEventListener("click", () => { state.page--; show(); });
  $("next-page").addEventListener("click", () => { state.page++; show(); });
  $("page").addEventListener("change", () => { state.page = Math.trunc($("page").value) - 1 || 0; show(); });
  document.addEventListener("keydown", keys);
  const { made, of, failed, of_failed: ofFailed } = shown;
  const part = made < of ? `${whole.format(made)} of ${whole.format(of)} samples of finished shards, one out of each equal part of them`
    : `all ${count(made, "sample")} of finished shards`;
  const lost = !ofFailed ? "" : failed < ofFailed ? `, and ${whole.format(failed)} of ${whole.format(ofFailed)} that were given up`
    : `, and ${failed === 1 ? "the one" : `all ${whole.format(failed)}`} that ${failed === 1 ? "was" : "were"} given up`;
  $("gallery-note").textContent = `Here are ${part}${lost}.` + (made < of ? " python -m jobs.report RUN --samples N shows more." : "");
  for (const [name, value] of Object.entries(samples.alike))
    $("alike").append(element("dt", { dir: "auto" }, visible(name)), element("dd", { dir: "auto" }, value === "" ? "–" : said(value)));
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("detail").open) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("search").focus();
    return;
  }
  const item = event.target.closest("#cards li");
  if (!item) return;
  const items = [...$("cards").children];
  const place = items.indexOf(item);
  const across = items.filter((one) => one.offsetTop === items[0].offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across };
  if (event.key in steps) {
    event.preventDefault();
    items[place + steps[event.key]]?.firstChild.focus();
  } else if (event.key === "PageDown" || event.key === "PageUp") {
    event.preventDefault();
    turn(event.key === "PageDown" ? 1 : -1);
  }
}
