"""Read colour, shape, background and motion back from a clip, frame by frame, with the image model's reader."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.model.demo.scenes.image_reader import Reading, read
from jobs.model.demo.scenes.shapes import BACKGROUNDS, COLOURS, SHAPES
from jobs.model.demo.scenes.video import MOTIONS

MIN_TRAVEL, MAX_DRIFT = 6.0, 3.0  # pixels from first to last frame; drawn clips move 11 to 15, or not at all
SHAPE_SHARE = 0.75  # of the frames must show the shape: a small star may look like a diamond now and then
ASPECTS = ["background", "count", "colour", "shape", "motion"]


@dataclass
class ClipReading:
    """What a clip shows."""

    frames: list[Reading]
    path: Tensor  # float (frames, xy), centre of the largest object in pixels; nan where there is none

    @property
    def motion(self) -> str:
        """One of ``MOTIONS``, or "" if it is none of them, such as a jump back and forth or a diagonal."""
        steps = self.path[-1] - self.path[0]
        if not steps.isfinite().all():
            return ""
        if (self.path - self.path[0]).norm(dim=1).max() <= MAX_DRIFT:
            return "standing still"
        for name, direction in MOTIONS.items():
            along = torch.tensor(direction)
            forward, sideways = float(steps @ along), float(steps @ along.flip(0))
            # Every fourth frame, as single ones may differ by less than the reader's error.
            onward = bool(((self.path @ along)[::4].diff() > 0).all())
            if forward >= MIN_TRAVEL and abs(sideways) <= forward / 2 and onward:
                return name
        return ""


def read_clip(clip: Tensor) -> ClipReading:
    """Read one clip.

    Args:
        clip: uint8 tensor of shape (frames, size, size, 3), RGB.

    Returns:
        What each frame shows, and the object's way.
    """
    frames = [read(frame) for frame in clip]
    nowhere = (float("nan"), float("nan"))
    centres = [(f.objects[0].x, f.objects[0].y) if f.objects else nowhere for f in frames]
    return ClipReading(frames, torch.tensor(centres))


def judge_clip(reading: ClipReading, scene: Tensor) -> dict[str, bool]:
    """Tell which aspects of a scene a clip shows as asked.

    Background, number of objects and colour must be right in every frame, the shape in ``SHAPE_SHARE`` of them.

    Args:
        reading: From ``read_clip``.
        scene: int64 tensor of shape (4,), see ``scenes``.

    Returns:
        A truth value for each of ``ASPECTS``; a clip is right if all are true.
    """
    background, colour, shape, motion = scene.tolist()
    count = all(len(frame.objects) == 1 for frame in reading.frames)
    largest = [frame.objects[0] for frame in reading.frames if frame.objects]
    fitting = sum(found.shape == SHAPES[shape] for found in largest)
    values = (
        all(frame.background == BACKGROUNDS[background] for frame in reading.frames),
        count,
        count and all(found.colour == COLOURS[colour] for found in largest),
        fitting >= SHAPE_SHARE * len(reading.frames),
        reading.motion == list(MOTIONS)[motion],
    )
    return dict(zip(ASPECTS, values, strict=True))
