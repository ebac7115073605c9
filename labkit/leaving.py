"""The end of a process that graded, whatever is still stuck in it."""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """Exit with this code, at once where a thread is left: a stuck check's would be waited for, for ever."""
    if is_held():
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)


def is_held() -> bool:
    """Whether Python would wait for a thread before it ends."""
    return any(not thread.daemon for thread in threading.enumerate() if thread != threading.main_thread())
