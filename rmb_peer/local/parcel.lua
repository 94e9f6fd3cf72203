-- Makes a string that was written piece by piece the only entry of a list, without another trip through a client, a
-- script or the append-only file: SORT is the one command that copies a string into a list.
-- KEYS: the string, a list for its name, the list to make
-- ARGV: the name, what the string's key has instead of it, bytes of the string, seconds that the list is kept
-- Returns: 1; 0 if this store does not let us (its user may read some keys only)
if redis.call("STRLEN", KEYS[1]) ~= tonumber(ARGV[3]) then
  return redis.error_reply("NOPARCEL what was written is gone")
end
redis.call("RPUSH", KEYS[2], ARGV[1])
local made = redis.pcall("SORT", KEYS[2], "BY", "nosort", "GET", ARGV[2], "STORE", KEYS[3])
redis.call("DEL", KEYS[1], KEYS[2])
if made ~= 1 then return 0 end
redis.call("EXPIRE", KEYS[3], ARGV[4])
return 1
