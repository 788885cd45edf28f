
// One sample: its whole file, straight from the tar where that can be read, all that is known of it, and its json.

const TYPES = { png: "image/png", jpg: "image/jpeg", webp: "image/webp", mp4: "video/mp4" };
const HEADER = 512; // bytes of a tar before a member, which begin with its name
const served = location.protocol !== "file:";
let folder = null; // path from the run's directory -> file, once its folder was chosen
let place = 0; // of the sample that is shown, in the gallery's order
let address = ""; // of what is shown of it
let asked = 0; // how often a file was asked for: an answer that comes after the next question is of no use

async function stretch(path, begin, end) {
  if (folder) {
    const file = folder.get(path);
    if (!file) throw new Error(`the folder has no ${path}`);
    return file.slice(begin, end).arrayBuffer();
  }
  const answer = await fetch(path, { headers: { Range: `bytes=${begin}-${end - 1}` } });
  if (answer.status !== 206) throw new Error(`${path} cannot be had from where this page is (${answer.status})`);
  return answer.arrayBuffer();
}

async function file(sample) {
  const [path, extension] = [samples.tars[samples.tar[sample]], samples.extension[sample]];
  const [begin, size] = [samples.start[sample], samples.size[sample]];
  const bytes = new Uint8Array(await stretch(path, begin - HEADER, begin + size));
  const name = new TextEncoder().encode(`${keyOf(sample)}.${extension}`).slice(0, 100);
  if (bytes.length !== HEADER + size || name.some((byte, at) => bytes[at] !== byte))
    throw new Error(`${path} is not the one that this page was made from`);
  return new Blob([bytes.subarray(HEADER)], { type: TYPES[extension] });
}

function open(at) {
  place = at;
  const sample = state.order[place];
  $("detail-key").textContent = keyOf(sample);
  $("detail-place").textContent = `${whole.format(place + 1)} of ${whole.format(state.order.length)}`;
  $("detail-previous").disabled = place === 0;
  $("detail-next").disabled = place === state.order.length - 1;
  $("detail-prompt").textContent = promptOf(sample);
  const known = columns.filter((one) => !["key", "prompt"].includes(one.name) && ![null, undefined, ""].includes(one.at(sample)));
  $("detail-values").replaceChildren(...known.flatMap((one) =>
    [element("dt", { dir: "auto" }, visible(one.name)), element("dd", { dir: "auto" }, shownValue(one, sample))]));
  $("detail-json").textContent = "";
  info(sample).then((text) => {
    if (sample === state.order[place]) $("detail-json").textContent = text ? visible(indented(text)) : "A sample that was given up has none.";
  });
  showFile(sample);
  if (!$("detail").open) $("detail").showModal();
  $("detail").scrollTop = 0;
}

async function showFile(sample) {
  const turn = ++asked;
  const small = thumbnail(sample);
  $("detail-media").replaceChildren(small ? element("img", { alt: promptOf(sample), src: small }) : samples.trouble[sample] ?? reasonOf(sample));
  $("detail-note").textContent = "";
  $("folder-label").hidden = true;
  URL.revokeObjectURL(address);
  if (!samples.size[sample]) return;
  if (!folder && !served) {
    const what = samples.frames[sample] > 1 ? `${samples.frames[sample]} frames of it, small` : "A thumbnail";
    $("detail-note").textContent = `${what}. To see the whole file, choose the run's folder: it is read here and sent nowhere.`;
    $("folder-label").hidden = false;
    return;
  }
  try {
    const found = await file(sample);
    if (turn !== asked) return;
    address = URL.createObjectURL(found);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const large = found.type.startsWith("video/")
      ? element("video", { controls: true, loop: true, muted: true, autoplay: !still, src: address })
      : element("img", { alt: promptOf(sample), src: address });
    $("detail-media").replaceChildren(large);
    $("detail-note").textContent = `The whole file, ${whole.format(found.size)} bytes.`;
  } catch (error) {
    if (turn !== asked) return;
    $("detail-note").textContent = `A thumbnail: ${error.message}.`;
    $("folder-label").hidden = false;
  }
}

function move(steps) {
  const to = place + steps;
  if (to < 0 || to >= state.order.length) return;
  open(to);
}

function dialog() {
  $("detail-previous").addEventListener("click", () => move(-1));
  $("detail-next").addEventListener("click", () => move(1));
  $("detail-close").addEventListener("click", () => $("detail").close());
  $("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });
  $("detail").addEventListener("keydown", (event) => {
    if (event.target.matches("input, pre, video")) return;
    if (event.key === "ArrowRight") move(1);
    else if (event.key === "ArrowLeft") move(-1);
  });
  $("detail").addEventListener("close", () => { // where the gallery shows another page by now, it follows
    asked++;
    $("detail-media").replaceChildren();
    state.page = Math.floor(place / PAGE);
    show(place % PAGE);
  });
  $("folder").addEventListener("change", () => {
    folder = new Map();
    for (const one of $("folder").files) {
      const parts = one.webkitRelativePath.split("/");
      for (const known of [parts.slice(1), parts]) folder.set(known.join("/"), one); // the run's folder, or its data/
    }
    showFile(state.order[place]);
  });
  $("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(await info(state.order[place]));
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  });
}

header();
tiles();
charts();
quality();
failures();
distributions((one, from, to, last) => {
  addFilter(one, from, to, last);
  $("gallery").scrollIntoView();
});
tools();
dialog();
choose();
