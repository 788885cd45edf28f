"""Where the files that come with the program lie: in a checkout at its top, in an installed copy inside ``jobs``."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_ROOT = _PACKAGE.parent if (_PACKAGE.parent / "conf" / "generate.yaml").exists() else _PACKAGE
CONF = _ROOT / "conf"


def find_shipped(path: str) -> Path:
    """Return a path as given; a relative one that is not here is looked for among the program's own files."""
    given = Path(path).expanduser()
    shipped = _ROOT / given
    return shipped if not given.exists() and shipped.exists() else given
