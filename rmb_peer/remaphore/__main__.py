"""`python -m rmb_peer.remaphore` is the command `remaphore`."""

import sys

from rmb_peer.remaphore.cli import main

if __name__ == "__main__":
    sys.argv[0] = "remaphore"
    raise SystemExit(main())
