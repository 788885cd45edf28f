"""What the environment decides is refused where it cannot work."""

import pytest

from jobs.model.environment import environment
from tests.support import generate, resolved


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason"), [("bogus", "is not a valid"), ("flash", "Flash Attention backend")])
def test_an_attention_backend_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path, name, reason):
    made = generate(f"output_base_path={tmp_path}", DIFFUSERS_ATTN_BACKEND=name)
    assert made.returncode == 2 and not list(tmp_path.iterdir())
    assert made.stderr.startswith(f"error: DIFFUSERS_ATTN_BACKEND={name} cannot be used (")
    assert reason in made.stderr and made.stderr.count("\n") == 1


def test_variables_that_choose_kernels_of_a_processor_are_told(monkeypatch: pytest.MonkeyPatch):
    options = resolved().options
    plain = environment(options, "cpu")["capability"]
    assert plain and "=" not in plain
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")  # other pictures, on a processor with AVX-512
    monkeypatch.setenv("MKL_CBWR", "")
    assert environment(options, "cpu")["capability"] == f"{plain} ONEDNN_MAX_CPU_ISA=SSE41"
