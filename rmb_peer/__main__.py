"""`python -m rmb_peer` is `rmb-peer`."""

import sys

from rmb_peer.cli import main

if __name__ == "__main__":
    sys.exit(main())
