"""An empty store for each test of the SDK."""

from tests.commands.conftest import redis as redis
from tests.commands.conftest import redis_url as redis_url
