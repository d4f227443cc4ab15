"""SHA-256 without OpenSSL: `hashlib` loads that, which takes 2 ms of every process for one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:  # an interpreter that was built without its own
            from hashlib import sha256

__all__ = ["sha256"]
