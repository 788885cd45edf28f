"""Sockets: who listens, and which ports are free."""

import contextlib
import random
import socket
import time
from pathlib import Path


def listens(address: Path | tuple[str, int]) -> bool:
    """Tell whether somebody accepts connections at a Unix socket's path or a TCP host and port."""
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as client:
        return client.connect_ex(address if isinstance(address, tuple) else str(address)) == 0


def free_ports(count: int) -> list[int]:
    """Find free TCP ports below the range that outgoing connections take theirs from."""
    ports: list[int] = []
    deadline = time.monotonic() + 10
    while len(ports) < count and time.monotonic() < deadline:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports += [port] if port not in ports else []
    if len(ports) < count:
        raise OSError("No free TCP ports between 10000 and 32000 were found.")
    return ports
