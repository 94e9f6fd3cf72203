-- Ends one hold on an entry whose worker is dead, or whose pause before the next try is over.
-- KEYS: where it is held (lease list, or the sorted set of what waits), heartbeat, queue, waiting set, tries, dead
--       letters, reply list
-- ARGV: held by: "lease" or "pause"
--       its identity there: SHA-1 of the newest entry of the lease list, or the member of the sorted set
--       what to do: "queue", "wait" or "bury"
--       tries, seconds to remember them; due time, command, most entries that wait; reason, most dead letters, answer
--       for a member of the sorted set: where in it the entry begins, from 1
-- Returns: 1, or 0 when somebody else was faster or the worker lives: then nothing has changed
local by, identity, action = ARGV[1], ARGV[2], ARGV[3]

-- A key of a wrong type fails here, before anything is taken away that could then go nowhere.
redis.call("LLEN", KEYS[3])
redis.call("ZCARD", KEYS[4])
redis.call("XLEN", KEYS[6])
redis.call("LLEN", KEYS[7])

local entry
if by == "lease" then
  if redis.call("EXISTS", KEYS[2]) == 1 then return 0 end
  entry = redis.call("LINDEX", KEYS[1], 0)
  if not entry or redis.sha1hex(entry) ~= identity then return 0 end
  redis.call("LPOP", KEYS[1])
else
  if redis.call("ZREM", KEYS[1], identity) == 0 then return 0 end
  entry = string.sub(identity, tonumber(ARGV[12]))
end

if action == "bury" then
  redis.call("XADD", KEYS[6], "MAXLEN", "~", ARGV[10], "*", "kind", "unfinished", "reason", ARGV[9], "raw", entry,
    "list", KEYS[3])
  if ARGV[11] ~= "" then redis.call("LPUSH", KEYS[7], ARGV[11]) end
  return 1
end
if by == "lease" then redis.call("SET", KEYS[5], ARGV[4], "EX", ARGV[5]) end
if action == "wait" and redis.call("ZCARD", KEYS[4]) < tonumber(ARGV[8]) then
  local now = redis.call("TIME")
  local number = now[1] .. string.format("%06d", now[2]) -- so that two equal entries stay two
  redis.call("ZADD", KEYS[4], ARGV[6], number .. ":" .. #ARGV[7] .. ":" .. ARGV[7] .. entry)
else
  redis.call("RPUSH", KEYS[3], entry) -- workers take from the right: it is the next one again
end
return 1
