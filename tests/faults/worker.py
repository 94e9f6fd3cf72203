"""A service with leases that answers with what it was asked, and may die at any time: `worker REDIS_URL`."""

import sys

from rmb_peer.sdk import Request, Service
from tests.faults.programs_side import LEASED


async def echo(request: Request) -> bytes:
    return request.payload


if __name__ == "__main__":
    service = Service(sys.argv[1], lease_s=5)
    service.add(LEASED, echo, retries=100)  # kills come faster here than a service that is broken would deserve
    service.run()
