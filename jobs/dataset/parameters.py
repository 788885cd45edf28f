"""How a sample was made, in the text that image tools write into their files and read from them.

First the prompt, then the negative prompt if there is one, last one line of settings. It is for people who look at a
file; the sample's json is what a sample can be made again from.
"""

import json
import re

from jobs.dataset.layout import Sample

_NEGATIVE = "Negative prompt:"
# Readers begin the negative prompt at the first line that starts so, in a prompt of several lines too.
_MISLEADING = re.compile(rf"\s*\n\s*(?={_NEGATIVE})")


def parameters_text(sample: Sample, *, model: str, sampler: str) -> str:
    """Return the text of one sample.

    Line breaks of the prompts stay, as "\\n", but for one before what readers would take for the negative prompt.

    Args:
        sample: what was made.
        model: the model's name.
        sampler: class name of the scheduler.
    """
    options = sample.options
    settings = {
        "Steps": options.num_inference_steps,
        "Sampler": _quoted(sampler),
        "CFG scale": options.guidance_scale,
        "Seed": sample.seed,
        "Size": f"{options.width}x{options.height}",
        "Model": _quoted(model),
    }
    negative = [f"{_NEGATIVE} {_lines(options.negative_prompt)}"] if options.negative_prompt else []
    last = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return "\n".join([_lines(sample.prompt), *negative, last])


def _lines(text: str) -> str:
    return _MISLEADING.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))


def _quoted(text: str) -> str:
    """Return a value in quotes where readers would cut it up."""
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:\n"]', text) else text
