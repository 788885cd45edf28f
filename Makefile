# The scripts do the work; these are their short names. `make check PYTEST="-k writer"` passes arguments on.
.PHONY: demo test check format

demo:
	bash tools/demo.sh

test:
	bash tools/check.sh --fast $(PYTEST)

check:
	bash tools/check.sh $(PYTEST)

format:
	bash tools/setup.sh dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/mdformat *.md docs/*.md
