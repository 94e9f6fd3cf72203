-- Pushes values for local programs, each together with its marks or not at all.
-- KEYS: none; list names come with the messages, so this store is one server, not a cluster
-- ARGV: entries a list may hold, then for each delivery: list, value, seconds to keep marks, mark, second mark or ""
-- Returns: for each delivery 0 delivered, 1 repeated, 2 full, or the error text of the store
local entries_max = tonumber(ARGV[1])
local outcomes = {}

local function deliver(list, value, ttl, mark, second)
  if redis.call("EXISTS", mark) == 1 or (second ~= "" and redis.call("EXISTS", second) == 1) then return 1 end
  local length = redis.pcall("LLEN", list)
  if type(length) == "table" then return length.err end
  if length >= entries_max then return 2 end
  redis.call("LPUSH", list, value)
  redis.call("SET", mark, "", "EX", ttl)
  if second ~= "" then redis.call("SET", second, "", "EX", ttl) end
  return 0
end

for i = 2, #ARGV, 5 do
  outcomes[#outcomes + 1] = deliver(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
end
return outcomes
