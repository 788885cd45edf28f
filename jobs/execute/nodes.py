"""Nodes on which tasks die before they have begun anything: seen from the tasks' ends, one after another. Pure."""

from dataclasses import dataclass, field

IN_A_ROW = 3


@dataclass
class Nodes:
    """What is known of each node by now.

    Attributes:
        bad: nodes on which the last three tasks in a row died at start-up, in the order in which that was seen.
    """

    bad: list[str] = field(default_factory=list)
    _row: dict[str, int] = field(default_factory=dict)
    _good: set[str] = field(default_factory=set)

    def began(self, node: str) -> None:
        """A task on this node came to its work, whatever became of it later."""
        self._row[node] = 0
        self._good.add(node)

    def died_at_start(self, node: str) -> bool:
        """A task on this node ended before it began anything; returns whether the node is bad since now."""
        self._row[node] = self._row.get(node, 0) + 1
        if self._row[node] < IN_A_ROW or node in self.bad:
            return False
        self.bad.append(node)
        return True

    @property
    def at_fault(self) -> bool:
        """Whether bad nodes are to blame, rather than what all tasks have in common.

        Where no task has ever begun anything and a second node is bad as well, it is not the nodes.
        """
        return bool(self.bad) and (bool(self._good - set(self.bad)) or len(self.bad) == 1)
