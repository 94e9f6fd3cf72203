-- Moves items from the two input lists into the outbox, oldest first, taking turns between the lists.
-- KEYS: waited-for requests, requests, waited-for replies, replies, outbox, a key that does not exist, number of takes
-- ARGV: largest count, bytes after which to stop
-- Returns: the number of this take, or of the last one when nothing is taken; then for each item: outbox id, "q" or "r",
--   content. By the number a gateway sees that the answer to an earlier take is missing.
-- Items that a blocking move already fetched (1 and 3) are older than those in the lists behind them (2 and 4).
local count_max, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[2])
local taken, bytes = { 0 }, 0
local sources = { { "q", { KEYS[1], KEYS[2] } }, { "r", { KEYS[3], KEYS[4] } } }

local function pop(lists)
  while lists[1] do
    local item = redis.call("RPOP", lists[1])
    if item then return item end
    table.remove(lists, 1)
  end
end

redis.call("XLEN", KEYS[5]) -- fails if it is no stream, before anything is popped that could then go nowhere
redis.call("SETRANGE", KEYS[6], 0, "") -- changes nothing, and fails when memory is full: then nothing is taken

while sources[1] and #taken < count_max * 3 + 1 and bytes < bytes_max do
  local source = table.remove(sources, 1)
  local item = pop(source[2])
  if item then
    local id = redis.call("XADD", KEYS[5], "*", source[1], item)
    taken[#taken + 1] = id
    taken[#taken + 1] = source[1]
    taken[#taken + 1] = item
    bytes = bytes + #item
    sources[#sources + 1] = source
  end
end
-- A damaged number costs a look into the outbox, and no item.
taken[1] = tonumber(redis.pcall(taken[2] and "INCR" or "GET", KEYS[7])) or 0
return taken
