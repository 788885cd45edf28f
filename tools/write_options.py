"""Write the option tables of README.md and docs/options.md from the schema: ``python -m tools.write_options``."""

import re
from pathlib import Path

from jobs.options.table import long_table, short_table

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"(<!-- options -->\n\n).*?(\n\n<!-- /options -->)", re.DOTALL)


def main() -> None:
    """Replace what stands between the marks."""
    for page, table in (("README.md", short_table()), ("docs/options.md", long_table())):
        path = ROOT / page
        path.write_text(TABLE.sub(lambda match, table=table: match[1] + table + match[2], path.read_text()))


if __name__ == "__main__":
    main()
