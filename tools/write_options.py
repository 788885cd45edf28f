"""Write the option tables of README.md and docs from the schemas: ``python -m tools.write_options``."""

from pathlib import Path

from jobs.options.export import ExportOptions
from jobs.options.score import ScoreOptions
from jobs.options.table import long_table, short_table
from jobs.options.words import group_table

ROOT = Path(__file__).resolve().parents[1]
BEFORE, AFTER = "<!-- options -->\n\n", "\n\n<!-- /options -->"


def main() -> None:
    """Replace what stands between the marks."""
    for page, table in (
        ("README.md", short_table()),
        ("docs/options.md", long_table()),
        ("docs/export.md", group_table(ExportOptions)),
        ("docs/scoring.md", group_table(ScoreOptions)),
    ):
        path = ROOT / page
        text = path.read_text()
        path.write_text(text.partition(BEFORE)[0] + BEFORE + table + AFTER + text.partition(AFTER)[2])


if __name__ == "__main__":
    main()
