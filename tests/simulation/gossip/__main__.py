"""`python -m tests.simulation.gossip`."""

import sys

from tests.simulation.gossip.cli import main

if __name__ == "__main__":
    sys.exit(main())
