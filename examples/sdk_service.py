"""A service with the Python SDK: `calc.add` adds numbers, `calc.divide` divides them. Loses nothing when it is killed.

    python sdk_service.py redis://HOST:PORT

Ctrl-C ends it: what is in hand is finished first.
"""

import sys

from rmb_peer.sdk import Request, Service, ServiceError


def make(redis_url: str) -> Service:
    service = Service(redis_url)

    @service.command("calc.add", concurrency=4)
    async def add(request: Request) -> float:
        return sum(request.json())

    @service.command("calc.divide", timeout_s=10)  # a plain function runs in a thread
    def divide(request: Request) -> float:
        dividend, divisor = request.json()
        if divisor == 0:
            raise ServiceError(422, f"{dividend} cannot be divided by 0")
        return float(dividend / divisor)

    return service


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python sdk_service.py redis://HOST:PORT")
    make(sys.argv[1]).run()
