-- Moves items from the two input lists into the outbox, oldest first, taking turns between the lists.
-- KEYS: waited-for requests, requests, waited-for replies, replies, outbox, a key that does not exist, number of takes
-- ARGV: bytes from which on an item is large, what the key of a large one begins with, largest count, bytes after which
--   to stop
-- Returns: the number of this take, or of the last one when nothing is taken; then for each item: outbox id, "q" or "r",
--   content; or "Q" or "R", roughly its bytes. By the number a gateway sees that the answer to an earlier take is missing.
-- Items that a blocking move already fetched (1 and 3) are older than those in the lists behind them (2 and 4).
-- A large one that is alone in its list, as one that a move fetched is, is not read: its list becomes the key that its
-- outbox entry stands for. Reading 22 MB into script, stream and answer takes 60 to 95 ms, in which nobody is served.
local large_bytes, prefix = tonumber(ARGV[1]), ARGV[2]
local count_max, bytes_max = tonumber(ARGV[3]), tonumber(ARGV[4])
local taken, bytes = { 0 }, 0
local sources = { { "q", { KEYS[1], KEYS[2] } }, { "r", { KEYS[3], KEYS[4] } } }

local left = {} -- how many a list still holds; asked once, so that no list is popped in vain

-- The oldest item; or the size of a large one, and the list that holds nothing else.
local function pop(lists)
  while lists[1] do
    local list = lists[1]
    if not left[list] then
      left[list] = redis.call("LLEN", list)
      local size = left[list] == 1 and redis.pcall("MEMORY", "USAGE", list)
      if type(size) == "number" and size >= large_bytes then
        left[list] = 0
        return size, list
      end
    end
    if left[list] > 0 then
      left[list] = left[list] - 1
      return redis.call("RPOP", list)
    end
    table.remove(lists, 1)
  end
end

redis.call("XLEN", KEYS[5]) -- fails if it is no stream, before anything is popped that could then go nowhere
redis.call("SETRANGE", KEYS[6], 0, "") -- changes nothing, and fails when memory is full: then nothing is taken

while sources[1] and #taken < count_max * 3 + 1 and bytes < bytes_max do
  local source = table.remove(sources, 1)
  local item, list = pop(source[2])
  if item then
    local kind = list and string.upper(source[1]) or source[1]
    local id = redis.call("XADD", KEYS[5], "*", kind, item)
    if list then
      redis.call("RENAME", list, prefix .. id)
      redis.call("PERSIST", prefix .. id) -- whatever the list had
      bytes, item = bytes + item, tostring(item)
    else
      bytes = bytes + #item
    end
    taken[#taken + 1] = id
    taken[#taken + 1] = kind
    taken[#taken + 1] = item
    sources[#sources + 1] = source
  end
end
-- A damaged number costs a look into the outbox, and no item.
taken[1] = tonumber(redis.pcall(taken[2] and "INCR" or "GET", KEYS[7])) or 0
return taken
