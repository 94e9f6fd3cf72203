-- Ends the hold of a worker on its entry, together with the answer, if the worker still holds it.
-- KEYS: lease list, reply list, dead letters
-- ARGV: the entry, the answer or "", reason for a dead letter or "", most dead letters, the queue
-- Returns: 1, or 0 when the entry is not in the lease list: finished before, or taken away
redis.call("LLEN", KEYS[2]) -- a key of a wrong type fails here, before anything is taken away
redis.call("XLEN", KEYS[3])
if redis.call("LREM", KEYS[1], -1, ARGV[1]) == 0 then return 0 end
if ARGV[2] ~= "" then redis.call("LPUSH", KEYS[2], ARGV[2]) end
if ARGV[3] ~= "" then
  redis.call("XADD", KEYS[3], "MAXLEN", "~", ARGV[4], "*", "kind", "unfinished", "reason", ARGV[3], "raw", ARGV[1],
    "list", ARGV[5])
end
return 1
