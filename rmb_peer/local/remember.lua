-- Keeps who waits for which uid, and by when, and how far in the outbox this has been done, all at one instant.
-- KEYS: deadlines, last entry remembered
-- ARGV: prefixes of backlog and open keys, last entry, then for each request:
--   uid, record, deadline, number of twins (0 for a single destination), then for each: twin, how often it was asked
redis.call("SET", KEYS[2], ARGV[3])
local i = 4
while i <= #ARGV do
  local uid, twins = ARGV[i], tonumber(ARGV[i + 3])
  redis.call("SET", ARGV[1] .. uid, ARGV[i + 1])
  redis.call("ZADD", KEYS[1], ARGV[i + 2], uid)
  i = i + 4
  for at = i, i + 2 * twins - 1, 2 do redis.call("HSET", ARGV[2] .. uid, ARGV[at], ARGV[at + 1]) end
  i = i + 2 * twins
end
