"""Builds a pipeline whose networks have shapes and no contents."""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jobs.base import checkpoint_json
from jobs.base.checkpoint_json import read_json
from jobs.base.errors import BadInput, first_line
from jobs.options.model import ModelOptions

CPU = torch.device("cpu")
# Bytes of a number of a linear layer in each scheme of model.quantization, scales left out: they are below 2 %.
_QUANTISED = {"int8": 1, "float8": 1, "bnb-8bit": 1, "bnb-4bit": 0.5}


@dataclass(frozen=True)
class Index:
    """What a pipeline is made of.

    Attributes:
        pipeline: its class in diffusers.
        parts: name -> library, class and configuration; of the library "words", a stand-in for a tokenizer that cuts
            prompts to ``limit`` tokens.
        config: the pipeline's own settings.
        folder: where the checkpoint lies, for parts that have more than a configuration; None: nowhere yet.
    """

    pipeline: str
    parts: dict[str, tuple[str, str, dict[str, Any]]]
    config: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None


def read_index(folder: Path, elsewhere: Mapping[str, Path]) -> Index:
    """Return what the json files of a checkpoint say.

    Args:
        folder: the checkpoint's.
        elsewhere: parts that come from elsewhere -> the folders of their own.
    """
    parts: dict[str, tuple[str, str, dict[str, Any]]] = {}
    config: dict[str, Any] = {}
    index = checkpoint_json.read_index(folder)
    for name, value in index.items():
        if isinstance(value, list):
            if value[0]:
                files = ("config.json", "scheduler_config.json")
                own = elsewhere.get(name, folder / name)
                parts[name] = (*value, next((read for file in files if (read := read_json(own / file))), {}))
        elif not name.startswith("_"):
            config[name] = value
    return Index(index.get("_class_name", ""), parts, config, folder)


def build(index: Index, model: ModelOptions) -> Any:
    """Return the pipeline, in the dtypes that it would be loaded in, with its networks on the meta device.

    Raises:
        BadInput: it holds a part that cannot be made from its configuration.
    """
    import diffusers

    dtype = getattr(torch, model.dtype)
    made = {}
    for name, (library, kind, config) in index.parts.items():
        own = getattr(torch, model.vae_dtype) if model.vae_dtype and name == "vae" else dtype
        try:
            made[name] = _made(index, name, library, kind, config, own)
        except (ImportError, AttributeError, TypeError, ValueError, OSError) as error:
            raise BadInput(f"{name} ({kind}) of {model.path} cannot be rehearsed: {first_line(error)}") from error
    owner: Any = getattr(diffusers, index.pipeline)
    absent = {name: None for name in inspect.signature(owner.__init__).parameters if name in owner._optional_components}
    known = inspect.signature(owner.__init__).parameters
    # Networks are on the meta device; what a pipeline makes itself, noise and masks, is on the host.
    places = {name: property(lambda self: CPU) for name in ("device", "_execution_device")}
    on_paper = type(owner.__name__, (owner,), places)
    settings = {name: value for name, value in index.config.items() if name in known}
    return on_paper(**{**absent, **made, **settings})


def weights_of(module: torch.nn.Module, scheme: str | None = None) -> int:
    """Return the bytes of a network's weights.

    Args:
        module: the network.
        scheme: how its linear layers are quantised.
    """
    whole = sum(one.nbytes for one in (*module.parameters(), *module.buffers()))
    if scheme is None:
        return whole
    linear = [one.weight for one in module.modules() if isinstance(one, torch.nn.Linear)]
    each = _QUANTISED[scheme.removesuffix("-dynamic")]
    return whole - sum(one.nbytes for one in linear) + int(each * sum(one.numel() for one in linear))


def _made(index: Index, name: str, library: str, kind: str, config: dict[str, Any], dtype: torch.dtype) -> Any:
    if library == "words":
        return _words(**config)
    if library not in ("diffusers", "transformers"):
        raise ValueError(f"it is of {library}")
    owner = getattr(importlib.import_module(library), kind)
    if not issubclass(owner, torch.nn.Module):
        if index.folder and hasattr(owner, "from_pretrained"):
            return owner.from_pretrained(index.folder / name, local_files_only=True)
        return owner.from_config(config)
    with torch.device("meta"), _uninitialised():
        module = owner.from_config(config) if library == "diffusers" else owner(owner.config_class.from_dict(config))
    wide = _kept_wide(module, library, dtype)
    for path, one in (*module.named_parameters(), *module.named_buffers()):
        if one.is_floating_point() and not any(word in path for word in wide):
            one.data = one.data.to(dtype)
    return module.eval()


def _kept_wide(module: Any, library: str, dtype: torch.dtype) -> list[str]:
    """Return what names of weights contain that the library loads in float32 whatever it is asked for."""
    everywhere = getattr(module, "_keep_in_fp32_modules", None) or []
    if library == "diffusers":
        return [*everywhere]
    strict = getattr(module, "_keep_in_fp32_modules_strict", None) or []
    return [*strict, *(everywhere if dtype == torch.float16 else [])]


@contextmanager
def _uninitialised() -> Iterator[None]:
    """Leave weights as they are made: numbers that nobody will see need not be drawn."""
    names = [one for one in dir(torch.nn.init) if one.endswith("_") and not one.startswith("_")]
    before = {one: getattr(torch.nn.init, one) for one in names}
    for one in names:
        setattr(torch.nn.init, one, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for one, function in before.items():
            setattr(torch.nn.init, one, function)


def _words(limit: int) -> Any:
    """Return a tokenizer that knows no word, in place of one that is not on the disk."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({"<unk>": 0, "<pad>": 1}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", model_max_length=limit
    )
