
// Everything but the samples: tiles, charts, quality, failures, distributions.

const { status, time, ledger, shown } = told;

function header() {
  $("name").textContent = told.name;
  $("asked").textContent = Object.entries(told.asked).map(([name, value]) => `${name} ${said(value)}`).join(" · ");
  const made = status.samples_done;
  const bar = $("bar");
  bar.setAttribute("aria-valuemax", status.samples);
  bar.setAttribute("aria-valuenow", made);
  for (const [name, value] of [["made", made], ["failed", status.samples_failed]]) {
    const part = element("span", { className: name });
    part.style.width = `${(100 * value) / Math.max(status.samples, 1)}%`;
    bar.append(part);
  }
  const words = [
    `${whole.format(made)} of ${count(status.samples, "sample")} made, ` +
      `${whole.format(status.done)} of ${count(status.shards, "shard")} done`,
  ];
  for (const name of ["running", "failed", "left"])
    if (status[name]) words.push(`${count(status[name], "shard")} ${name}`);
  if (status.calibrating) words.push(`calibrating: ${status.calibrating.join(" of ")} samples`);
  for (const [reason, shards] of told.stopped) words.push(`${count(shards, "shard")} stopped (${reason}), to go on where they are`);
  if (time.last) words.push(`last sample ${moment(time.last)}`);
  $("standing").textContent = words.join(" · ");
  $("made-by").textContent = `Run begun ${moment(time.created)} by version ${told.version}.`;
}

function tile(name, value, more = "", bad = false) {
  const small = more ? [element("small", {}, more)] : [];
  $("tiles").append(element("div", { className: bad ? "bad" : "" }, element("dt", {}, name), element("dd", {}, value, ...small)));
}

function tiles() {
  tile("samples made", whole.format(status.samples_done), `of ${whole.format(status.samples)}`);
  const again = status.retried ? `, ${whole.format(status.retried)} of them made later` : "";
  tile("given up", whole.format(status.samples_failed), again.slice(2), status.samples_failed > status.retried);
  if (status.samples_flagged) tile("flagged and kept", whole.format(status.samples_flagged));
  if (status.failed) tile("shards failed", whole.format(status.failed), "", true);
  if (status.samples_per_second) {
    const left = status.eta_seconds === null ? "" : `about ${duration(status.eta_seconds)} to go`;
    tile("samples a second", number(status.samples_per_second), left);
  }
  if (ledger.seconds_a_thousand)
    tile(`${ledger.unit}-hours a thousand samples`, number(ledger.seconds_a_thousand / 3600));
  for (const one of told.quality)
    tile(`PSNR to all ${one.steps} steps`, `${one.psnr.mean.toFixed(1)} dB`, `SSIM ${one.ssim.mean.toFixed(3)}, ${one.samples} samples`);
  if (told.audits) tile("audits, median PSNR", `${told.audits.psnr.median.toFixed(1)} dB`, count(told.audits.samples, "sample"));
}

function chart(title, drawn, note = "") {
  return element("div", { className: "chart" }, element("h3", {}, title), drawn, ...(note ? [element("p", {}, note)] : []));
}

// A drawing with axes: `draw` gets the places of values across and up.
function plot(label, across, up, draw, [width, height] = [480, 170]) {
  const [left, bottom, top] = [48, 22, 8];
  const x = (value) => left + ((width - left - 8) * value) / (across || 1);
  const y = (value) => height - bottom - ((height - bottom - top) * value) / (up || 1);
  const made = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const share of [0, 0.5, 1]) {
    made.append(drawing("path", { class: "axis", d: `M${left} ${y(up * share)}H${width - 8}` }));
    made.append(drawing("text", { x: left - 6, y: y(up * share) + 4, "text-anchor": "end" }, number(Number((up * share).toPrecision(3)))));
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    made.append(drawing("text", { x: x(across * share), y: height - 6, "text-anchor": anchor }, duration(across * share)));
  }
  draw(made, x, y);
  return made;
}

function charts() {
  if (time.last) {
    const [whole, parts] = [time.last - time.created, time.made.length - 1];
    const at = (part) => (whole * part) / parts;
    const last = time.made[parts];
    $("charts").append(chart("Samples made", plot(`${count(last, "sample")} within ${duration(whole)}`, whole, last, (made, x, y) => {
      const line = time.made.map((total, part) => `L${x(at(part))} ${y(total)}`).join("");
      made.append(drawing("path", { class: "under", d: `M${x(0)} ${y(0)}${line}V${y(0)}Z` }));
      made.append(drawing("path", { class: "curve", d: `M${x(0)} ${y(0)}${line}` }));
    })));
    const rates = time.made.slice(1).map((total, part) => (total - time.made[part]) / (whole / parts));
    const most = Math.max(...rates);
    $("charts").append(chart("Samples a second", plot(`at most ${number(most)} samples a second`, whole, most, (made, x, y) => {
      rates.forEach((rate, part) => {
        const width = Math.max(x(at(1)) - x(0) - 1, 0.5);
        made.append(drawing("rect", { class: "column", x: x(at(part)), y: y(rate), width, height: y(0) - y(rate) },
          drawing("title", {}, `after ${duration(at(part))}: ${number(rate)} a second`)));
      });
    })));
  }
  const total = Object.values(ledger.total).reduce((sum, one) => sum + one, 0);
  if (total) $("charts").append(spent(total));
}

function spent(total) {
  const kinds = Object.keys(ledger.total).filter((kind) => ledger.total[kind] >= total / 1e5);
  const bar = element("div", { className: "ledger", role: "img" });
  const rows = [];
  for (const [kind, seconds] of Object.entries(ledger.total)) {
    if (!kinds.includes(kind)) continue;
    const share = `${((100 * seconds) / total).toFixed(1)}%`;
    const part = element("span", { className: kind, title: `${kind}: ${share}` });
    part.style.width = share;
    bar.append(part);
    const name = kind === "lost" ? "lost in killed attempts" : kind;
    rows.push([element("span", {}, element("span", { className: `dot ${kind}` }), name), seconds, share]);
  }
  bar.setAttribute("aria-label", `shares of ${ledger.unit}-seconds, in the table below`);
  const nodes = ledger.nodes.map(([host, of]) => [host, ...kinds.map((kind) => of[kind])]);
  const more = ledger.more_nodes ? [element("p", {}, `and ${count(ledger.more_nodes, "other node")}`)] : [];
  return element("div", { className: "chart" }, element("h3", {}, `Where the ${ledger.unit}-seconds went`), bar,
    table(["", "seconds", "share"], rows),
    element("details", {}, element("summary", {}, "by node"), table(["node", ...kinds], nodes), ...more));
}

function table(titles, rows) {
  const numbers = titles.map((_, place) => rows.length > 0 && rows.every((row) => typeof row[place] === "number"));
  const cell = (tag, value, place) => {
    const text = value instanceof Node ? value : typeof value === "number" ? number(Number(value.toPrecision(6))) : said(value);
    return element(tag, { className: numbers[place] ? "number" : "", dir: "auto" }, text);
  };
  return element("div", { className: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...titles.map((title, place) => cell("th", title, place)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((value, place) => cell("td", value, place)))))));
}

function quality() {
  const body = $("quality-body");
  for (const { steps, evaluated, samples, psnr, ssim, choice = [] } of told.quality) {
    const spread = psnr.standard_error ? ` ± ${(2 * psnr.standard_error).toFixed(1)}` : "";
    body.append(element("p", {}, `Measured by the run's calibration: PSNR ${psnr.mean.toFixed(1)}${spread} dB ` +
      `(worst ${psnr.worst.toFixed(1)}), SSIM ${ssim.mean.toFixed(3)} to all ${steps} steps with ${evaluated} evaluated, ` +
      `on ${count(samples, "sample")} that were kept apart.`));
    if (choice.length > 1) body.append(element("p", { className: "quiet" },
      `Its schedule is the best of ${choice.length} that were compared, found by ${choice[0].halves} of ${choice[0].of} halves of the samples.`));
  }
  if (told.audits) {
    const { samples, psnr, ssim, below, floor, worst } = told.audits;
    body.append(element("p", {}, `Audits: ${count(samples, "sample")} made with all steps as well; ` +
      `${below ? whole.format(below) : "none"} below audit_floor=${number(floor)} dB.`));
    const names = Object.keys(psnr);
    body.append(table(["to all steps", ...names], [
      ["PSNR (dB)", ...names.map((name) => Number(psnr[name].toFixed(2)))], ["SSIM", ...names.map((name) => Number(ssim[name].toFixed(4)))]]));
    body.append(element("details", {}, element("summary", {}, "the worst"),
      table(["sample", "PSNR (dB)", "SSIM"], worst.map((one) => [one.key, one.psnr, one.ssim]))));
  }
  for (const one of told.schedules) body.append(schedule(one));
  if (told.asked.algo === "nocache") body.append(element("p", {}, "No step is forecast: algo=nocache."));
  else if (!told.quality.length && !told.audits)
    body.append(element("p", { className: "quiet" }, "Nobody measured this run's own quality: audit_every=N does, and so does a run that calibrates itself."));
}

function schedule({ evaluated, steps, psnr, ssim, samples }) {
  const expected = psnr ? `, expected PSNR ${psnr.toFixed(1)} dB and SSIM ${ssim.toFixed(3)}` : "";
  const words = `${evaluated.length} of ${steps} steps evaluated${expected} (${count(samples, "sample")} of those shown)`;
  const strip = drawing("svg", { viewBox: `0 0 ${steps * 10} 14`, role: "img", "aria-label": `evaluated steps: ${evaluated.join(" ")}` });
  strip.style.maxWidth = `${steps * 14}px`;
  const known = new Set(evaluated);
  for (let step = 0; step < steps; step++)
    strip.append(drawing("rect", { class: known.has(step) ? "evaluated" : "forecast", x: step * 10, y: 1, width: 8, height: 12, rx: 1.5 },
      drawing("title", {}, `step ${step}: ${known.has(step) ? "evaluated" : "forecast"}`)));
  return element("div", {}, element("p", {}, words), strip);
}

function failures() {
  const body = $("failures-body");
  if (told.reasons.length) body.append(table(["samples given up because", "samples"], told.reasons));
  const left = told.failures.map(({ what, reason, log }) => [what, reason, log]);
  if (left.length) {
    const more = told.more_failures ? [element("p", { className: "quiet" }, `and ${whole.format(told.more_failures)} more: python -m jobs.status RUN --json lists all`)] : [];
    body.append(element("details", { open: left.length <= 10 }, element("summary", {}, `${count(left.length + told.more_failures, "failure")}, each with its log`),
      table(["what", "why", "log"], left), ...more));
  }
  if (!body.childElementCount) body.append(element("p", { className: "quiet" }, "None."));
}

const LARGEST = 32; // histograms
const BINS = 24;

function distributions(pick) {
  const drawn = columns.filter((one) => one.numbers && !PLACES.has(one.name)).slice(0, LARGEST);
  $("distributions-note").textContent = drawn.length
    ? "Of the samples below; a click on a column shows the samples in it." : "No number differs between the samples below.";
  for (const one of drawn) $("histograms").append(histogram(one, pick));
}

function histogram(one, pick) {
  const found = [];
  for (let sample = 0; sample < samples.count; sample++) if (one.at(sample) !== null && one.at(sample) !== undefined) found.push(one.at(sample));
  const values = Float64Array.from(found).sort();
  const [least, most] = [values[0], values.at(-1)];
  const median = (values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2;
  const steps = values.every(Number.isInteger) ? Math.max(1, Math.ceil((most - least + 1) / BINS)) : (most - least) / BINS || 1;
  const edge = (bin) => least + bin * steps;
  const bins = new Array(Math.max(1, Math.min(BINS, Math.floor((most - least) / steps) + 1))).fill(0);
  for (const value of values) bins[Math.min(bins.length - 1, Math.floor((value - least) / steps))]++;
  const highest = Math.max(...bins);
  const words = `${number(least)} to ${number(most)}, median ${number(median)}`;
  const made = drawing("svg", { viewBox: "0 0 240 70", role: "img", "aria-label": `${visible(one.name)}: ${words}` });
  const width = 240 / bins.length;
  bins.forEach((height, bin) => {
    const size = height ? Math.max(1.5, (66 * height) / highest) : 0;
    const last = bin === bins.length - 1;
    const [from, to] = [edge(bin), last ? most : edge(bin + 1)];
    const column = drawing("rect", { class: "column pick", x: bin * width, y: 70 - size, width: Math.max(width - 1, 0.5), height: size },
      drawing("title", {}, `${number(from)} to ${number(to)}: ${count(height, "sample")}`));
    column.addEventListener("click", () => pick(one, from, to, last));
    made.append(column);
  });
  const lacking = samples.count - values.length;
  return chart(visible(one.name), made, words + (lacking ? `; ${whole.format(lacking)} without` : ""));
}
