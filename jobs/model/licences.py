"""Licences: what a checkpoint says of its own, and what some say of training on what the model makes.

The summaries are this project's words for what the licences' texts say, and no legal advice; the links are what counts.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from jobs.model.checkpoint import Checkpoint

_HUB = "https://huggingface.co/"
_TEXTS = ("LICENSE*", "LICENCE*", "license*")


@dataclass(frozen=True)
class OutputTerms:
    """What a licence says of training on outputs.

    Attributes:
        licence: what it is called.
        says: what it says, to follow "its licence says that".
        link: its text.
    """

    licence: str
    says: str
    link: str


@dataclass(frozen=True)
class Licence:
    """A checkpoint's licence as its own model card has it.

    Attributes:
        id: as the hub names licences; "other" where it has none for it.
        name, link: of another licence, what its card says; empty where it says nothing.
        sha256: of the text of the licence beside the card; empty where there is none.
    """

    id: str
    name: str = ""
    link: str = ""
    sha256: str = ""


_FLUX = OutputTerms(
    "FLUX.1 [dev] Non-Commercial License",
    "outputs must not be used to train, fine-tune or distill a model that competes with FLUX.1 [dev]",
    "https://huggingface.co/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
)
_HUNYUAN = OutputTerms(
    "Tencent Hunyuan Community License",
    "outputs must not be used to improve any other AI model, and that it does not hold in the European Union, the "
    "United Kingdom and South Korea",
    "https://huggingface.co/tencent/HunyuanVideo/blob/main/LICENSE.txt",
)
_STABILITY = OutputTerms(
    "Stability AI Community License",
    "outputs must not be used to create or improve a foundational generative AI model",
    "https://huggingface.co/stabilityai/stable-diffusion-3.5-large/blob/main/LICENSE.md",
)
# Hub ids and licence names, as patterns.
_TERMS = (
    (r"black-forest-labs/FLUX\.1.*-dev|flux-1-dev-non-commercial-license", _FLUX),
    (r".*/HunyuanVideo.*|tencent-hunyuan-community", _HUNYUAN),
    (r"stabilityai/stable-diffusion-3.*|stabilityai-ai-community|stabilityai-.*-community", _STABILITY),
)


def output_terms(path: str, licence: Licence | None) -> OutputTerms | None:
    """Return what is known to restrict training on a model's outputs; None where nothing is known to.

    Args:
        path: the model's hub id, or where it lies.
        licence: what its card says.
    """
    names = (path, licence.name if licence else "", licence.id if licence else "")
    for pattern, terms in _TERMS:
        if any(re.fullmatch(pattern, name, re.IGNORECASE) for name in names if name):
            return terms
    return None


def checkpoint_licence(checkpoint: "Checkpoint") -> Licence | None:
    """Return the licence that a checkpoint's model card, ``README.md``, names; None where it names none."""
    from jobs.model.checkpoint import EMBEDDED  # not above: exports read what was recorded, and need no model

    if checkpoint.path.startswith(EMBEDDED):
        return Licence("apache-2.0")  # this project's own
    if checkpoint.folder is None or checkpoint.single:  # whose card is of the model that it comes from
        return None
    card = _front_matter(checkpoint.folder / "README.md")
    named = card.get("license")
    named = named[0] if isinstance(named, list) and named else named
    if not isinstance(named, str):
        return None
    link = str(card.get("license_link") or "")
    if link and "://" not in link:
        link = f"{_HUB}{checkpoint.path}/blob/main/{link}" if not checkpoint.local else ""
    return Licence(named.lower(), str(card.get("license_name") or ""), link, _text_digest(checkpoint.folder))


def _text_digest(folder: Path) -> str:
    files = sorted({file for pattern in _TEXTS for file in folder.glob(pattern) if file.is_file()})
    return hashlib.sha256(files[0].read_bytes()).hexdigest() if files else ""


def _front_matter(path: Path) -> dict[str, Any]:
    """Return the YAML at the head of a card; empty where there is none, or none that can be read."""
    try:
        match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", path.read_text(errors="replace"), re.DOTALL)
        card = yaml.safe_load(match[1]) if match else None
    except (OSError, yaml.YAMLError):
        return {}
    return card if isinstance(card, dict) else {}
