"""`rmb-peer` that offers nothing to its relays: to them it is a gateway of another make, which speaks rmb.1."""

import sys
from functools import partial

from rmb_peer import app
from rmb_peer.cli import main

if __name__ == "__main__":
    app.Gateway = partial(app.Gateway, offers=())  # type: ignore[misc, assignment]
    sys.exit(main())
