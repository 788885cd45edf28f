"""What the environment decides is refused where it cannot work."""

import pytest

from tests.support import generate


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reason"), [("bogus", "is not a valid"), ("flash", "Flash Attention backend")])
def test_an_attention_backend_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path, name, reason):
    made = generate(f"output_base_path={tmp_path}", DIFFUSERS_ATTN_BACKEND=name)
    assert made.returncode == 2 and not list(tmp_path.iterdir())
    assert made.stderr.startswith(f"error: DIFFUSERS_ATTN_BACKEND={name} cannot be used (")
    assert reason in made.stderr and made.stderr.count("\n") == 1
