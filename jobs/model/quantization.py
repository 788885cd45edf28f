"""Weights kept in fewer bits: which parts of a model, and how, through diffusers' and transformers' own quantisers."""

import importlib
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from jobs.base.errors import BadInput

FORM = "{transformer: int8, text_encoder_2: float8}"
# Name -> the library, and what it calls this: a class of torchao, or arguments of bitsandbytes.
SCHEMES: dict[str, tuple[str, Any]] = {
    "int8": ("torchao", "Int8WeightOnlyConfig"),
    "int8-dynamic": ("torchao", "Int8DynamicActivationInt8WeightConfig"),
    "float8": ("torchao", "Float8WeightOnlyConfig"),
    "float8-dynamic": ("torchao", "Float8DynamicActivationFloat8WeightConfig"),
    "bnb-8bit": ("bitsandbytes", {"load_in_8bit": True}),
    "bnb-4bit": ("bitsandbytes", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
}


def check_quantization(asked: Any, index: dict[str, Any]) -> None:
    """Refuse what cannot be quantised, before anything is loaded.

    Args:
        asked: ``model.quantization``; None: nothing.
        index: the pipeline's ``model_index.json``.

    Raises:
        BadInput: names the part, the scheme, or the library that is not installed.
    """
    if asked is None:
        return
    if not isinstance(asked, dict) or not asked:
        raise BadInput(f"model.quantization must be a mapping like {FORM}, not {asked!r}")
    parts = [name for name, value in index.items() if _is_network(value)]
    for part, scheme in asked.items():
        if part not in parts:
            raise BadInput(f"model.quantization: the model has no {part}; its networks are {', '.join(parts)}")
        if scheme not in SCHEMES:
            raise BadInput(f"model.quantization.{part}={scheme} is not known: choose one of {', '.join(SCHEMES)}")
        library = SCHEMES[scheme][0]
        if find_spec(library) is None:
            raise BadInput(f"model.quantization.{part}={scheme} needs {library}: pip install {library}")


def quantization_config(asked: dict[str, str], index: dict[str, Any], dtype: Any) -> Any:
    """Return what ``from_pretrained`` takes.

    Args:
        asked: part -> scheme.
        index: the pipeline's ``model_index.json``.
        dtype: torch dtype of the arithmetic.
    """
    from diffusers import PipelineQuantizationConfig

    return PipelineQuantizationConfig(
        quant_mapping={part: _config(scheme, index[part][0], dtype) for part, scheme in asked.items()}
    )


def described(asked: dict[str, str] | None) -> dict[str, str]:
    """Return what a sample's json says: each part's scheme, and the versions of the libraries that did it."""
    libraries = {SCHEMES[scheme][0] for scheme in (asked or {}).values()}
    return {**(asked or {}), **{name: version(name) for name in sorted(libraries)}}


def _config(scheme: str, library: str, dtype: Any) -> Any:
    quantiser, how = SCHEMES[scheme]
    owner = importlib.import_module(library)  # diffusers or transformers: each has classes of these names
    if quantiser == "torchao":
        import torchao.quantization

        return owner.TorchAoConfig(getattr(torchao.quantization, how)())
    compute = {"bnb_4bit_compute_dtype": dtype} if "load_in_4bit" in how else {}
    return owner.BitsAndBytesConfig(**how, **compute)


def _is_network(value: Any) -> bool:
    words = ("Tokenizer", "Scheduler", "Processor", "Extractor")
    named = isinstance(value, list) and len(value) == 2 and value[0] in ("diffusers", "transformers")
    return named and not any(word in str(value[1]) for word in words)
