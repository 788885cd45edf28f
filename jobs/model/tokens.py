"""What the text encoders of a pipeline see of a prompt: how many tokens it has, and how many each encoder reads."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from jobs.base.checkpoint_json import read_index
from jobs.model.sources import defines, parameters_of
from jobs.options.model import ModelOptions

SANE = 1 << 20  # tokens; a tokenizer whose limit was never set says 10^30
CHUNK = 4096  # texts given to a tokenizer at once
# Encoders of fixed length, which is their tokenizers'. Others read as far as the pipeline's max_sequence_length says.
FIXED = ("CLIPTextModel", "CLIPTextModelWithProjection")
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
CLEANER = "prompt_clean"  # what pipelines call the function that repairs a prompt's characters first


class Seen(NamedTuple):
    """What an encoder sees of a prompt.

    Attributes:
        tokens: of the prompt, with those that the tokenizer puts around it.
        limit: how many of them the encoder reads; None: all, or it is not known.
    """

    tokens: int
    limit: int | None

    @property
    def cut(self) -> bool:
        """Whether the end of the prompt is not read."""
        return self.limit is not None and self.tokens > self.limit


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a pipeline, as far as it takes to count.

    Attributes:
        name: what the pipeline calls it: text_encoder, text_encoder_2, ...
        tokenizer: of transformers.
        limit: tokens that it reads; None: all, or it is not known.
        template: text that the pipeline puts around a prompt.
        cropped: tokens at the beginning of that text which are read and then left out.
    """

    name: str
    tokenizer: Any
    limit: int | None
    template: str = "{}"
    cropped: int = 0

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        if not texts:
            return []
        whole = [self.template.format(text) for text in texts]
        ids = self.tokenizer(whole, padding=False, truncation=False, verbose=False)["input_ids"]
        return [len(one) - self.cropped for one in ids]


@dataclass(frozen=True)
class TokenCounter:
    """Counts for all text encoders of a pipeline. Reads its tokenizers only, so it is quick to make.

    Attributes:
        encoders: those that have a tokenizer.
        cleans: whether the pipeline repairs prompts first.
    """

    encoders: tuple[TextEncoder, ...]
    cleans: bool = False

    @classmethod
    def read(cls, model: ModelOptions, folder: Path) -> "TokenCounter":
        """Read the tokenizers of a checkpoint; what is not on the disk is left out.

        Args:
            model: the model's options; those of every call count.
            folder: the checkpoint's.
        """
        index = read_index(folder)
        name = str(index.get("_class_name"))
        call = {**(parameters_of(name, "__call__") or {}), **model.call}
        return cls(tuple(_encoders(index, folder, call)), defines(name, CLEANER))

    def seen(self, texts: Sequence[str]) -> list[dict[str, Seen]]:
        """Return what each encoder, by its name, sees of each text."""
        texts = [self._cleaned(text) for text in texts]
        counts = {one.name: one.count(texts) for one in self.encoders}
        return [
            {one.name: Seen(counts[one.name][place], one.limit) for one in self.encoders} for place in range(len(texts))
        ]

    def cut(self, texts: Sequence[str]) -> dict[str, set[int]]:
        """Return, for each encoder that has a limit, the places of the texts whose end it does not read.

        A text of few bytes has few tokens, so most of a million prompts need no counting.
        """
        found: dict[str, set[int]] = {}
        for one in self.encoders:
            if one.limit is None:
                continue
            spare = one.limit - one.count([""])[0] - 1  # SentencePiece puts a space before
            long = [place for place, text in enumerate(texts) if _bytes(text) > spare]
            found[one.name] = set()
            for start in range(0, len(long), CHUNK):
                part = long[start : start + CHUNK]
                counts = one.count([self._cleaned(texts[place]) for place in part])
                found[one.name] |= {place for place, count in zip(part, counts, strict=True) if count > one.limit}
        return found

    def _cleaned(self, text: str) -> str:
        if not self.cleans:
            return text
        import ftfy

        return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def _bytes(text: str) -> int:
    """Return the bytes of a text as tokenizers normalise it at the most: no token is made of less than one."""
    return len(text) if text.isascii() else len(normalize("NFKC", text).encode())


def _encoders(index: dict[str, Any], folder: Path, call: dict[str, Any]) -> Iterator[TextEncoder]:
    """Yield the encoders of a pipeline whose tokenizers can be read; ``call`` has the arguments of each call."""
    for name, part in sorted(index.items()):
        place = name.replace("text_encoder", "tokenizer")
        is_encoder = name.startswith("text_encoder") and isinstance(part, list) and part[1]
        if not is_encoder or not (folder / place).is_dir():
            continue
        kind = index.get(place, [None, None])[1]
        tokenizer = _tokenizer(kind, folder / place) if kind else None
        if tokenizer is None:
            continue
        own = tokenizer.model_max_length if tokenizer.model_max_length < SANE else None
        if part[1] in FIXED:
            yield TextEncoder(name, tokenizer, own)
        else:
            limit = call.get("max_sequence_length") or own
            around = call.get("prompt_template") or {}  # HunyuanVideo's: a text with the prompt in it, half left out
            template = around.get("template", "{}")
            yield TextEncoder(name, tokenizer, limit, template, _cropped(tokenizer, around))


def _tokenizer(kind: str, folder: Path) -> Any:
    """Read a tokenizer as diffusers does; None where it is not one of transformers, or not all there.

    Of a folder without a vocabulary transformers makes a tokenizer too, which knows no word.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    found = getattr(transformers, kind, None)
    if found is None or not any((folder / file).is_file() for file in VOCABULARIES):
        return None
    loaded = found.from_pretrained(folder, local_files_only=True)
    return getattr(loaded, "tokenizer", loaded)  # a processor holds one


def _cropped(tokenizer: Any, around: dict[str, Any]) -> int:
    """Return the tokens that a pipeline takes off the beginning again."""
    if "template" not in around:
        return 0
    start: int | None = around.get("crop_start")
    # As HunyuanVideo counts it: without the placeholder and the last token.
    return len(tokenizer(around["template"])["input_ids"]) - 2 if start is None else start
