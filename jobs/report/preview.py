"""A contact sheet of a run's first samples, so that a person sees at once what was made. Of a clip, four frames."""

import io
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jobs.media.video import read_clip
from jobs.options.schema import IMAGE_FORMATS
from jobs.store.atomic import write_bytes
from jobs.store.rundir import RunDir

COLUMNS, CELL, CAPTION, MARGIN = 4, 192, 46, 12


def make_preview(run: RunDir, count: int = 16) -> Path:
    """Draw ``preview.png`` into the run's directory from the first ``count`` samples of its done shards."""
    target = run.path / "preview.png"
    sink = io.BytesIO()
    contact_sheet(list(_first_samples(run, count))).save(sink, "PNG")
    write_bytes(target, sink.getvalue())
    return target


def _first_samples(run: RunDir, count: int) -> Iterator[tuple[Image.Image, str]]:
    """Yield (image, prompt) of the first samples, in order."""
    for shard in sorted(run.done_shards()):
        with run.open_tar(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            picture = None
            for member in archive:
                data = archive.extractfile(member)
                extension = member.name.rpartition(".")[2]
                if data and extension in IMAGE_FORMATS:
                    picture = Image.open(io.BytesIO(data.read())).convert("RGB")
                elif data and extension == "mp4":
                    picture = _film_strip(read_clip(data.read()))
                elif data and extension == "txt" and picture is not None:
                    yield picture, data.read().decode()
                    count -= 1
                    if not count:
                        return


def _film_strip(frames: np.ndarray, count: int = 4) -> Image.Image:
    """Return ``count`` frames from first to last, side by side."""
    chosen = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return Image.fromarray(np.concatenate([frames[number] for number in chosen], axis=1))


def contact_sheet(samples: list[tuple[Image.Image, str]]) -> Image.Image:
    """Return images in a grid, each fitted into a cell with its prompt below; film strips get wide cells."""
    wide = any(picture.width > 2 * picture.height for picture, _ in samples)
    columns = min(COLUMNS // 2 if wide else COLUMNS, len(samples))
    width = 2 * CELL if wide else CELL
    height = max(round(picture.height * width / max(picture.size)) for picture, _ in samples)
    rows = -(-len(samples) // columns)
    step_x, step_y = width + MARGIN, height + CAPTION + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * step_x, MARGIN + rows * step_y), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (picture, prompt) in enumerate(samples):
        x, y = MARGIN + number % columns * step_x, MARGIN + number // columns * step_y
        scale = width / max(picture.size)
        fitted = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x + (width - fitted.width) // 2, y + (height - fitted.height) // 2))
        draw.rectangle((x, y, x + width - 1, y + height - 1), outline="#cccccc")
        lines = textwrap.wrap(prompt, width // 6)
        caption = "\n".join(lines[:3] if len(lines) <= 3 else [*lines[:2], lines[2][: width // 6 - 3] + "..."])
        draw.multiline_text((x, y + height + 3), caption, fill="#333333", font=font, spacing=1)
    return sheet
