"""The sweeper behind ``-m``: one job a group of unfinished shards. Hydra only takes plugins from this namespace.

Hydra imports this at every start, so what it does lies in ``jobs.execute.sweep`` and is imported when it is used.
"""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ShardSweeper(Sweeper):
    """Fans out exactly the unfinished shards of each run the command line describes."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        from jobs.execute.sweep import fan_out

        assert self.hydra_context and self.config
        return fan_out(self.hydra_context, self.config, arguments)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="shards",
    node={"_target_": "hydra_plugins.shard_sweeper.ShardSweeper"},
    provider="shard_sweeper",
)
