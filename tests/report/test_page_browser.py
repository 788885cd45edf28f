"""The report in a real browser: hostile texts, the gallery by mouse and keyboard, whole files, what everybody can read.

One browser serves all of these tests, each with a page that it opens anew.
"""

import http.client
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from jobs.export.export import export
from jobs.options.export import ExportOptions
from jobs.report.page.build import make_report
from jobs.report.page.serve import Server
from jobs.run.run import Run
from jobs.store.attempt import Attempt
from jobs.store.writer import Writer
from tests.export.runs import COMMON, HOW, finished_run, lines
from tests.support import new_run, write_prompts
from tools.benchmarks.common.browser import Page, browser

HACK = "window.hacked = true"
HOSTILE = [
    f"<script>{HACK}</script>",
    f"</script><script>{HACK}</script>",
    f"<!--<script>{HACK}//-->",
    f"</textarea></style></title><img src=x onerror='{HACK}'>",
    f"a line{chr(0x2028)}and another{chr(0x2029)}; ]]> \\u003c/script> ${{{HACK}}} {{{{facts}}}}",
    f"left {chr(0x202E)}to right{chr(0x2066)} {chr(0x200F)}",
    "long " * 20_000,
    "مرحبا <b>بالعالم</b>",
    f'[click](javascript:{HACK}) ![x](x) <a href="javascript:{HACK}">here</a> `<i>`',
    "quote \" ' & &lt;b&gt; \t end",
]
COLUMN = f'<img src=x onerror="{HACK}">'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as start:
        yield start()


@pytest.fixture(autouse=True)
def _usual(page: Page) -> None:
    page.send("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
    page.media(prefers_color_scheme="light", prefers_reduced_motion="no-preference")


def show(page: Page, run: Run) -> None:
    page.open(make_report(run.directory).resolve().as_uri())
    page.until("document.querySelectorAll('#cards li').length || document.getElementById('found').textContent")


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.run(f"[...document.querySelectorAll({selector!r})].map(one => one.textContent)")
    return found


def test_hostile_texts_are_texts_in_the_report_and_in_an_exports_card(tmp_path: Path, page: Page):
    prompts = "\n".join(json.dumps({"prompt": text, COLUMN: text, "n": place}) for place, text in enumerate(HOSTILE))
    run = finished_run(tmp_path, prompts, "shard_size=20", fails={3: f"<script>{HACK}</script>"})
    show(page, run)
    assert texts(page, "#cards .prompt") == [text if len(text) < 1000 else f"{text[:1000]}…" for text in HOSTILE]
    assert f"metadata.{COLUMN}" in texts(page, "#sort option")
    with tarfile.open(run.directory.tar(0)) as archive:
        stored = [archive.extractfile(one).read() for one in archive if one.name.endswith(".json")]  # type: ignore[union-attr]
    for place in range(len(HOSTILE)):
        page.run(f"document.querySelectorAll('#cards button')[{place}].click()")
        if place == 3:
            assert f"<script>{HACK}</script>" in texts(page, "#detail-values dd")
        else:
            page.until("document.getElementById('detail-json').textContent")
            shown = texts(page, "#detail-json")[0]
            assert json.loads(shown) == json.loads(stored.pop(0))
            assert not {chr(0x202E), chr(0x2028), chr(0x2066)} & {*shown}
        page.run("document.getElementById('detail').close()")
    assert page.run("window.hacked") is None
    assert page.run("document.querySelectorAll('img:not([src^=\"data:\"])').length") == 0
    assert [one for one in page.requested() if not one.startswith("data:")] == [page.run("location.href")]
    assert page.complaints() == []

    export(
        [str(run.directory.path)],
        str(tmp_path / "set"),
        ExportOptions(license="cc0-1.0", energon=False),
        lambda line: None,
    )
    text = (tmp_path / "set" / "README.md").read_text().partition("\n---\n")[2]
    card = tmp_path / "card.html"
    card.write_text(f"<meta charset=utf-8>{MarkdownIt('commonmark', {'html': True}).enable('table').render(text)}")
    page.open(card.as_uri())
    assert page.run("window.hacked") is None
    assert page.run("document.querySelectorAll('script, img, td a, td b, td i').length") == 0
    assert f"<script>{HACK}</script>" in texts(page, "td")


def test_the_gallery_pages_sorts_filters_and_is_used_by_keyboard(tmp_path: Path, page: Page):
    prompts = "\n".join(
        json.dumps({"prompt": f"shape {number:03d}", "beauty": (number * 7) % 130}) for number in range(130)
    )
    run = finished_run(tmp_path, prompts, "shard_size=65", fails={100: "all of one colour"})
    show(page, run)
    keys = "#cards .value"
    assert len(texts(page, "#cards li")) == 60 and texts(page, "#pages") == ["of 3"]
    page.run("document.getElementById('next-page').click(); document.getElementById('next-page').click()")
    assert texts(page, keys)[-1] == "00000129_0000" and len(texts(page, "#cards li")) == 10
    assert page.run("document.getElementById('next-page').disabled")

    def put(selector: str, value: str) -> None:
        chosen = f"document.querySelector({selector!r})"
        page.run(f"{chosen}.value = {value!r}; {chosen}.dispatchEvent(new Event('input'))")

    beauty = texts(page, "#sort option").index("metadata.beauty") - 1
    put("#sort", str(beauty))
    assert texts(page, keys)[:3] == [f"metadata.beauty: {number}" for number in range(3)]
    page.run("document.getElementById('direction').click()")
    assert texts(page, keys)[0] == "metadata.beauty: 129"
    page.run("document.getElementById('add-filter').click()")
    put("#filters select", str(beauty))
    put("#filters input[placeholder='at least']", "10")
    put("#filters input[placeholder='at most']", "19")
    assert texts(page, "#found") == ["10 of 130 samples"]
    assert texts(page, keys) == [f"metadata.beauty: {number}" for number in range(19, 9, -1)]
    put("#search", "SHAPE 07")
    assert texts(page, "#found") == ["2 of 130 samples"]  # 76 and 77
    page.run("document.querySelector('#filters button').click()")
    put("#search", "")
    put("#status", "failed")
    assert texts(page, keys) == ["given up"] and texts(page, "#cards .picture") == ["all of one colour"]
    put("#status", "")
    page.run("document.querySelector('#histograms rect.pick').dispatchEvent(new MouseEvent('click'))")
    assert len(texts(page, "#filters li")) == 1 and texts(page, "#found") != ["130 samples"]
    page.run("document.querySelector('#filters button').click()")
    put("#sort", "")

    page.run("document.querySelector('#cards button').focus()")
    page.press("ArrowRight", 39)
    page.press("ArrowDown", 40)
    page.press("PageDown", 34)
    assert page.run("document.activeElement.closest('li') === document.getElementById('cards').firstChild")
    first = page.run("document.activeElement.querySelector('.value').textContent")
    page.press("Enter", 13, "\r")
    page.until("document.getElementById('detail').open")
    assert texts(page, "#detail-key") == [first]
    page.press("ArrowRight", 39)
    second = texts(page, "#detail-key")
    assert second != [first] and texts(page, "#detail-place") == ["62 of 130"]
    page.press("Escape", 27)
    page.until(f"document.activeElement.querySelector('.value')?.textContent === {second[0]!r}")
    page.press("/", 191, "/")
    assert page.run("document.activeElement.id") == "search"
    assert page.complaints() == []


def test_a_folder_shows_whole_files_and_another_runs_tar_is_told_from_its_own(tmp_path: Path, page: Page):
    run = finished_run(tmp_path / "own", lines(5), size=lambda sample: 400)
    other = finished_run(tmp_path / "other", lines(5), "seed=1", "key_prefix=other-", size=lambda sample: 400)
    show(page, run)
    page.run("document.querySelector('#cards button').click()")
    page.until("document.querySelector('#detail-media img').naturalWidth === 256")
    for folder in (run.directory.path, run.directory.data):
        page.choose_files("#folder", folder)
        page.until("document.getElementById('detail-note').textContent.startsWith('The whole file')")
        page.until("document.querySelector('#detail-media img').naturalWidth === 400")
    page.choose_files("#folder", other.directory.path)
    page.until(
        "document.getElementById('detail-note').textContent.includes('not the one that this page was made from')"
    )
    assert page.complaints() == []


def test_served_clips_play_from_the_tar_and_nothing_else_is_served(tmp_path: Path, page: Page):
    run = clip_run(tmp_path)
    target = make_report(run.directory)
    with Server(run.directory, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            page.open(server.address)
            assert page.run("Math.round(parseFloat(document.querySelector('.film img').style.width))") == 400
            page.run("document.querySelector('#cards button').click()")
            page.until("document.querySelector('#detail-media video')?.readyState >= 3")
            assert page.run("document.querySelector('#detail-media video').videoWidth") == 48
            page.media(prefers_reduced_motion="reduce")
            page.run("document.getElementById('detail-next').click()")
            page.until("document.querySelector('#detail-media video')?.readyState >= 3")
            assert page.run("document.querySelector('#detail-media video').paused")
            assert page.complaints() == []
            token = f"/{server.token}"
            tar = run.directory.tar(0).read_bytes()
            cases: list[tuple[str, dict[str, str], int]] = [
                (f"{token}/data/00000.tar", {"Range": "bytes=512-700"}, 206),
                (f"{token}/data/00000.tar", {}, 416),
                (f"{token}/data/00000.tar", {"Range": f"bytes=0-{len(tar)}"}, 416),
                (f"{token}/data/00007.tar", {"Range": "bytes=0-1"}, 404),
                (f"{token}/run.json", {}, 404),
                (f"{token}/../run.json", {}, 404),
                (f"{token}/data/../run.json", {}, 404),
                ("/", {}, 404),
                ("/data/00000.tar", {"Range": "bytes=0-1"}, 404),
            ]
            for path, headers, status in cases:
                code, body = get(server, path, headers)
                assert code == status, path
                if status == 206:
                    assert body == tar[512:701]
            assert get(server, f"{token}/", {}) == (200, target.read_bytes())
        finally:
            server.shutdown()
            thread.join()


def get(server: Server, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def clip_run(folder: Path) -> Run:
    run = new_run(folder, f"prompt_file={write_prompts(folder / 'p.txt', 2)}", "model=demo-video", "shard_size=2")
    writer = Writer(run.layout, run.media, COMMON, sample_attempts=1, in_flight=2, report=lambda *event: None)
    attempt = Attempt(run.directory, 0, fingerprint="same", device="cpu", log="")
    writer.start(attempt)
    for index in run.layout.shard_range(0):
        frames = np.full((17, 48, 48, 3), 255, np.uint8)
        for number, frame in enumerate(frames):
            frame[20:28, number : number + 8] = (200, 30, 30)
        writer.add(attempt, run.layout.sample(index), frames, HOW, 0.5)
    writer.finish(attempt)
    writer.close()
    return run


CONTRAST = """[...document.querySelectorAll('body *')].filter(one => one.checkVisibility() && !one.closest('svg') &&
    [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())).map(one => {
  const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => (v /= 255) <= .04045 ?
    v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  let ground = one;
  while (ground && getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
  const pair = [light(getComputedStyle(one).color), light(getComputedStyle(ground ?? document.body).backgroundColor)];
  return [(Math.max(...pair) + .05) / (Math.min(...pair) + .05), one.outerHTML.slice(0, 90)];
}).filter(([ratio, html]) => ratio < 4.5 && !html.includes('disabled'))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(tmp_path: Path, page: Page, scheme: str):
    """By eye: contrast of 4.5 at least (WCAG AA); by ear: whatever can be used has a name; on a telephone: it fits."""
    audits = {place: {"key": f"{place:08d}_0000", "psnr": 40.0, "ssim": 0.9, "floor": 50.0} for place in range(3)}
    run = finished_run(tmp_path, lines(12), fails={7: "all of one colour"}, audits=audits)
    page.media(prefers_color_scheme=scheme)
    show(page, run)
    page.run("document.getElementById('add-filter').click()")
    assert page.run(CONTRAST) == []
    page.run("document.querySelector('#cards button').click()")
    assert page.run(CONTRAST) == []
    page.run("document.getElementById('detail').close()")
    tree: list[dict[str, Any]] = page.send("Accessibility.getFullAXTree")["nodes"]
    usable = {"button", "textbox", "searchbox", "combobox", "spinbutton", "link", "image", "img"}
    nameless = [
        node for node in tree
        if not node["ignored"] and node["role"]["value"] in usable and not node["name"]["value"].strip()
    ]  # fmt: skip
    assert nameless == [] and {"main", "navigation"} <= {node["role"]["value"] for node in tree}
    page.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=False)
    assert page.run("document.documentElement.scrollWidth") <= 360
