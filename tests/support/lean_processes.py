"""What makes the hundreds of processes of a test run cheap to start; it refuses to know what they are.

Starting is most of what a process of a test costs: a relay needs 1.4 s of CPU on the busy machine where this was
measured, of which 0.3 s go into compiling our modules when Python may not keep what it compiled, and 0.2 s into reading
the public certificate authorities, which aiohttp does when it is imported.
"""

import os
import sys


def keep_bytecode() -> None:
    """Keep compiled modules in `__pycache__`, which git ignores, here and in child processes.

    Some machines set PYTHONDONTWRITEBYTECODE; then each of some 400 processes would compile everything again, and each
    worker of pytest would rewrite the assertions of all test files again.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def trust_nobody() -> None:
    """Trust no public certificate authority, here and in child processes: tests meet nobody but themselves.

    A test that needs an authority sets SSL_CERT_FILE to its own.
    """
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull
