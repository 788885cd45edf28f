"""A contact sheet of a run's first samples, so that a person sees at once what was made."""

import io
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from jobs.atomic import write_bytes
from jobs.encode import FORMATS
from jobs.rundir import RunDir

COLUMNS, CELL, CAPTION, MARGIN = 4, 192, 46, 12


def make_preview(run: RunDir, count: int = 16) -> Path:
    """Draw ``preview.png`` into the run's directory from the first ``count`` samples of its done shards."""
    target = run.path / "preview.png"
    sink = io.BytesIO()
    contact_sheet(list(_first_samples(run, count))).save(sink, "PNG")
    write_bytes(target, sink.getvalue())
    return target


def _first_samples(run: RunDir, count: int) -> Iterator[tuple[Image.Image, str]]:
    """(picture, prompt) of the first samples, in order."""
    for shard in sorted(run.done_shards()):
        with tarfile.open(run.tar(shard), "r:") as archive:
            picture = None
            for member in archive:
                data = archive.extractfile(member)
                extension = member.name.rpartition(".")[2]
                if data and extension in FORMATS:
                    picture = Image.open(io.BytesIO(data.read())).convert("RGB")
                elif data and extension == "txt" and picture is not None:
                    yield picture, data.read().decode()
                    count -= 1
                    if not count:
                        return


def contact_sheet(samples: list[tuple[Image.Image, str]]) -> Image.Image:
    """Pictures in a grid, each fitted into a square cell with its prompt below."""
    columns = min(COLUMNS, len(samples))
    rows = -(-len(samples) // columns)
    step_x, step_y = CELL + MARGIN, CELL + CAPTION + MARGIN
    sheet = Image.new("RGB", (MARGIN + columns * step_x, MARGIN + rows * step_y), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (picture, prompt) in enumerate(samples):
        x, y = MARGIN + number % columns * step_x, MARGIN + number // columns * step_y
        scale = CELL / max(picture.size)
        fitted = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x + (CELL - fitted.width) // 2, y + (CELL - fitted.height) // 2))
        draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline="#cccccc")
        lines = textwrap.wrap(prompt, 32)
        caption = "\n".join(lines[:3] if len(lines) <= 3 else [*lines[:2], lines[2][:29] + "..."])
        draw.multiline_text((x, y + CELL + 3), caption, fill="#333333", font=font, spacing=1)
    return sheet
