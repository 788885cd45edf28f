"""Shows Hydra the options, for ``conf/generate.yaml`` to start from: only what composes needs Hydra."""

from dataclasses import field, fields, is_dataclass, make_dataclass
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore

from jobs.options.fields import limits_of
from jobs.options.schema import Options


def config_schema(group: type) -> type:
    """Return a dataclass of options as OmegaConf is to see it: what may be null is typed so."""
    hints = get_type_hints(group)
    made = []
    for one in fields(group):
        kind: Any = hints[one.name]
        if is_dataclass(kind):
            kind = config_schema(kind)  # type: ignore[arg-type]
            made.append((one.name, kind, field(default_factory=kind)))
        elif limits_of(group, one.name).words or (one.default is None and kind in (Any, dict[str, Any] | None)):
            # A typed mapping would refuse keys that it does not have, and a typed number words.
            made.append((one.name, Any, field(default=one.default)))
        elif one.default is None:
            made.append((one.name, kind | None, field(default=None)))
        else:
            made.append((one.name, kind, field(default=one.default, default_factory=one.default_factory)))
    return make_dataclass(group.__name__, made)


# By a name that a Hydra application of the caller's (jobs.api) will hardly have.
ConfigStore.instance().store(name="jobs_options", node=config_schema(Options), provider="jobs")
