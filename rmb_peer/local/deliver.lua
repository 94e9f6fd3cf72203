-- Pushes values for local programs, each together with its marks and the ending it means, or not at all; then keeps dead
-- letters and forgets outbox entries, all at one instant.
-- KEYS: deadlines, dead letters, outbox; other names come with the messages, so this store is one server, not a cluster
-- ARGV: entries a list may hold, dead letters kept, prefixes of backlog, open and told keys, what stands for a caller that
--   has gone, seconds that an unread error is kept, number of dead letters (each: kind, reason, raw, uid, list), number of
--   outbox entries (each: id), number of keys of large ones among these (each: name), then for each delivery:
--   list, value, seconds to keep marks, mark or "", second mark or "", "1" to bury what cannot be pushed, "0", or "p" if
--   the value is the name of a list that holds the value alone: it is moved, or deleted,
--   ending: "" none, "a" an answer, "e" an error of ours; its uid, twin ("" for the only one), seconds to accept more
-- Returns: for each delivery 0 delivered, 1 repeated, 2 full, 3 late, 4 caller gone, or the error text of the store
local DEADLINES, DEAD, OUTBOX = KEYS[1], KEYS[2], KEYS[3]
local entries_max, dead_max = tonumber(ARGV[1]), ARGV[2]
local BACKLOG, OPEN, TOLD, GONE, unread_s = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local at = 8

local function bury(kind, reason, raw, uid, list)
  local fields = { "kind", kind, "reason", reason, "raw", raw }
  if uid ~= "" then fields[#fields + 1] = "uid"; fields[#fields + 1] = uid end
  if list ~= "" then fields[#fields + 1] = "list"; fields[#fields + 1] = list end
  redis.call("XADD", DEAD, "MAXLEN", "~", dead_max, "*", unpack(fields))
end

-- The last destination has ended: no deadline; more answers are matched for a while.
local function finish(uid, kept)
  redis.call("ZREM", DEADLINES, uid)
  redis.call("EXPIRE", BACKLOG .. uid, kept)
  redis.call("EXPIRE", TOLD .. uid, kept)
end

-- An error of ours ends a destination; whether it was open.
local function tell(uid, twin)
  if twin == "" then
    if redis.call("ZREM", DEADLINES, uid) == 0 then return false end
    redis.call("DEL", BACKLOG .. uid)
    return true
  end
  local asked = tonumber(redis.call("HGET", OPEN .. uid, twin) or 0)
  if asked < 1 then return false end
  if asked > 1 then
    redis.call("HINCRBY", OPEN .. uid, twin, -1)
  else
    redis.call("HDEL", OPEN .. uid, twin)
    redis.call("SADD", TOLD .. uid, twin)
  end
  return true
end

-- An answer ends a destination, or follows another answer; false when an error of ours came first.
local function answer(uid, twin, kept)
  if twin == "" then
    if redis.call("ZREM", DEADLINES, uid) == 1 then
      redis.call("EXPIRE", BACKLOG .. uid, kept)
      return true
    end
  elseif redis.call("HDEL", OPEN .. uid, twin) == 1 then
    if redis.call("EXISTS", OPEN .. uid) == 0 then finish(uid, kept) end
    return true
  elseif redis.call("SISMEMBER", TOLD .. uid, twin) == 1 then
    return false
  end
  return redis.call("EXISTS", BACKLOG .. uid) == 1
end

local function mark_new(mark, ttl) return mark == "" or redis.call("SET", mark, "", "NX", "EX", ttl) end

-- As LPUSH, of the one entry of another list, which is then gone. LMOVE reads the entry, RENAME does not.
local function push_parcel(list, parcel)
  if redis.call("EXISTS", list) == 0 then
    redis.call("RENAME", parcel, list)
    redis.call("PERSIST", list)
    return 1
  end
  local moved = redis.pcall("LMOVE", parcel, list, "LEFT", "LEFT")
  return type(moved) == "table" and moved or redis.call("LLEN", list)
end

-- One command for each mark and one for the push, instead of asking first: what must not be is taken back, which is rare
-- and which nobody sees, because nothing else runs meanwhile.
local function deliver(list, value, ttl, mark, second, or_bury, how, uid, twin, kept)
  if not mark_new(mark, ttl) then return 1 end
  if not mark_new(second, ttl) then
    redis.call("DEL", mark)
    return 1
  end
  if how == "e" then
    if not tell(uid, twin) then
      if mark ~= "" then redis.call("DEL", mark, second) end
      return 1
    end
    if twin ~= "" and redis.call("EXISTS", OPEN .. uid) == 0 then finish(uid, kept) end
  end
  local problem
  local length = or_bury == "p" and push_parcel(list, value) or redis.pcall("LPUSH", list, value)
  if type(length) == "table" then
    problem = redis.pcall("GET", list) == GONE and 4 or length.err
  elseif length > entries_max then
    problem = 2
  elseif how == "a" and not answer(uid, twin, kept) then
    problem = 3
  end
  if problem then
    if type(length) == "number" then redis.call("LTRIM", list, 1, -1) end -- does not read it, as LPOP would
    if mark ~= "" then redis.call("DEL", mark, second) end
    if or_bury == "1" and problem ~= 4 then
      local why = problem == 2 and "full" or problem
      bury("response", "the error could not be pushed to the list '" .. list .. "': " .. why, value, uid, list)
    end
    return problem
  end
  if length == 1 and (how == "e" or or_bury == "1") then -- what may be buried is an error of ours, with or without an ending
    redis.call("EXPIRE", list, unread_s)
  elseif length > 1 and how == "a" then
    redis.call("PERSIST", list) -- it may hold an unread error, and is in use after all
  end
  return 0
end

local letters = tonumber(ARGV[at])
local letters_at = at + 1
at = letters_at + 5 * letters
local entries = tonumber(ARGV[at])
local entries_at = at + 1
at = entries_at + entries
local large = tonumber(ARGV[at])
local large_at = at + 1
at = large_at + large

for i = at, #ARGV, 10 do
  if ARGV[i + 5] == "p" and redis.call("EXISTS", ARGV[i + 1]) == 0 then
    return redis.error_reply("NOPARCEL the value is gone") -- before anything is changed
  end
end

local outcomes = {}
for i = at, #ARGV, 10 do
  local outcome = deliver(unpack(ARGV, i, i + 9))
  outcomes[#outcomes + 1] = outcome
  if outcome ~= 0 and ARGV[i + 5] == "p" then redis.call("UNLINK", ARGV[i + 1]) end
end
for i = letters_at, letters_at + 5 * letters - 1, 5 do bury(unpack(ARGV, i, i + 4)) end
for i = entries_at, entries_at + entries - 1, 1000 do -- unpack has a limit of some thousands
  redis.call("XDEL", OUTBOX, unpack(ARGV, i, math.min(i + 999, entries_at + entries - 1)))
end
for i = large_at, large_at + large - 1 do redis.call("UNLINK", ARGV[i]) end
return outcomes
