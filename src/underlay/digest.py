"""SHA-256 without OpenSSL: `hashlib` loads that, which takes 2 ms of every process for one call."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256
        else:
            from _sha256 import sha256
    except ImportError:  # an interpreter that was built without its own
        from hashlib import sha256

__all__ = ["sha256"]
