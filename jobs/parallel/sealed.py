"""A store in which only ranks of one group can say something.

Anybody who reaches the port of a group's store can read and write there. So what ranks tell each other is sealed with a
secret of the group, which they find in a file that only their user can read and which never goes over the network.
"""

import hashlib
import hmac
from typing import Any


class Sealed:
    """Texts in a store, each with a proof that it was written for its key by somebody who knows the secret.

    Args:
        store: any of torch's.
        secret: of the group; "" of a store that a launcher (torchrun) keeps, where nothing is proved.
    """

    def __init__(self, store: Any, secret: str):
        self._store, self._secret = store, secret.encode()

    def set(self, key: str, text: str) -> None:
        """Write a text."""
        self._store.set(key, self._proof(key, text) + text)

    def get(self, key: str) -> str:
        """Return a text that was written.

        Raises:
            PermissionError: somebody else has written it.
        """
        sealed: str = self._store.get(key).decode(errors="replace")
        text = sealed[len(self._proof(key, "")) :]
        if not hmac.compare_digest(sealed.encode(), (self._proof(key, text) + text).encode()):
            raise PermissionError(f"{key} was not written by a rank of this group: a stranger reaches its port")
        return text

    def _proof(self, key: str, text: str) -> str:
        if not self._secret:
            return ""
        return hmac.new(self._secret, f"{key}\0{text}".encode(), hashlib.sha256).hexdigest()
