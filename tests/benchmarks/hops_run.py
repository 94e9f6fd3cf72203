"""`hops` as a helper: it forks, which a process with an event loop and threads had better not do.

    python -m tests.benchmarks.hops_run

Each line of standard input is a JSON object with the arguments of `hop_us`, and is answered with one.
"""

import json
import sys

from tests.benchmarks.hops import hop_us

if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps({"hop_us": hop_us(**json.loads(line))}), flush=True)
