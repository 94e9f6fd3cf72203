"""The scripts that change mailboxes and count what is in them, in one step each: a crash leaves both or neither.

What is stored for a twin is counted in the hash `relay.stored:{<twin>}`. Field `t` holds count, bytes and number of its
mailboxes; each mailbox that holds anything has a field of its own, `m` or `m:<session>`, with its count, its bytes, and
the Unix second from which on it is worth looking through for what has expired (0: at once), and the one until which the
stream certainly lives. While a mailbox is being counted anew the field also has where that got to, and what was found
so far: `<id> <count> <bytes>`. The hash `relay.stored` has the sums over all twins, `n` and `b`. Bytes are those of the
values: entries cost the store more.

Programs of other makes change mailboxes without counting (spec rmb 6.7), and mailboxes expire as a whole. The length of
a stream is known at little cost, so whoever appends corrects the count of the mailbox; its bytes are exact again at
once if it was empty, else they are estimated until somebody has counted.

A script touches keys of the twins it is given, and of the caller: its marker and the sums. On a cluster these keys have
to share a slot: a call is for one twin, and in place of the sums it gets the counters of that twin, which means that no
sums are kept; whoever goes through everything adds them up, see `janitor`. Every write that may be
denied when memory is short is allowed to fail; the next script that touches the mailbox corrects what was not counted.
"""

from relay.mailboxes import EntryId
from relay.presence_script import TELL

FIELD = b"_"
"""The one field of an entry; it holds the serialised envelope (spec rmb 6.7)."""

KEEP_LONGER_S = 60
"""How much longer a stream is made to live than it has to, so that not every append has to say so again; a guess."""


def read_id(text: bytes) -> EntryId:
    """An id as streams write it."""
    milliseconds, _, counter = text.partition(b"-")
    return int(milliseconds), int(counter)


_COMMON = r"""
local NEVER, LONGER = 99999999999, <longer>
local twins, boxes, sums_count, sums_bytes = {}, {}, 0, 0

-- Half as dear as '%.0f'; the parts of an id may need all of 64 bits, which only that can write.
local function text(number) return string.format('%d', number) end

local function change(box, count, bytes)
  local before, twin = box.count, box.twin
  count = math.max(count, -before)
  box.count = before + count
  if box.count == 0 or box.bytes + bytes < 0 then bytes = -box.bytes end
  box.bytes = box.bytes + bytes
  twin.count, twin.bytes = twin.count + count, twin.bytes + bytes
  sums_count, sums_bytes = sums_count + count, sums_bytes + bytes
  if before == 0 and box.count > 0 then twin.mailboxes = twin.mailboxes + 1 end
  if before > 0 and box.count == 0 then twin.mailboxes, box.earliest, box.walk = twin.mailboxes - 1, NEVER, nil end
  box.changed = true
end

local function open(key, stored, name, unchecked)
  local box = boxes[key]
  if box then return box end
  local length = not unchecked and redis.pcall('XLEN', key)
  if type(length) == 'table' then return nil, length['err'] end
  local twin, found = twins[stored], nil
  if twin then
    found = redis.pcall('HGET', stored, name)
    if type(found) == 'table' then return nil, found['err'] end
  else
    local both = redis.pcall('HMGET', stored, 't', name)
    if both['err'] then return nil, both['err'] end
    local count, bytes, mailboxes = string.match(both[1] or '', '^(%d+) (%d+) (%d+)$')
    twin = {boxes = {}, count = tonumber(count or 0), bytes = tonumber(bytes or 0)}
    twin.mailboxes = tonumber(mailboxes or 0)
    twins[stored], found = twin, both[2]
  end
  box = {key = key, name = name, twin = twin, known = found, count = 0, bytes = 0, earliest = NEVER, lives = 0}
  local ms, counter, walked, size
  if found then
    local count, bytes, earliest, lives, rest = string.match(found, '^(%d+) (%d+) (%d+) (%d+)(.*)$')
    box.count, box.bytes = tonumber(count), tonumber(bytes)
    box.earliest, box.lives = tonumber(earliest), tonumber(lives)
    if rest ~= '' then ms, counter, walked, size = string.match(rest, '^ (%d+)%-(%d+) (%d+) (%d+)$') end
  end
  if ms then
    box.walk = {ms = tonumber(ms), counter = tonumber(counter), count = tonumber(walked), bytes = tonumber(size)}
  end
  boxes[key], twin.boxes[#twin.boxes + 1] = box, box
  if length and box.count ~= length then
    local bytes_now = 0
    if box.count > 0 then bytes_now = math.floor(box.bytes * length / box.count) end
    change(box, length - box.count, bytes_now - box.bytes)
    box.walk, box.lives = nil, 0
    if length > 0 then box.earliest = 0 end
  end
  return box
end

local function removed(box, id, size)
  local walk = box.walk
  if walk then
    local ms, counter = string.match(id, '^(%d+)%-(%d+)$')
    ms, counter = tonumber(ms), tonumber(counter)
    if ms < walk.ms or (ms == walk.ms and counter <= walk.counter) then
      walk.count, walk.bytes = walk.count - 1, walk.bytes - size
    end
  end
  change(box, -1, -size)
end

local function size_of(fields)
  local size = 0
  for i = 2, #fields, 2 do size = size + #fields[i] end
  return size
end

local function save(sums)
  if twins[sums] then sums_count, sums_bytes = 0, 0 end
  for stored, twin in pairs(twins) do
    local all = string.format('%d %d %d', twin.count, twin.bytes, twin.mailboxes)
    local set, changed = {'HSET', stored, 't', all}, false
    for _, box in ipairs(twin.boxes) do
      if box.changed then
        changed = true
        if box.count > 0 then
          local value = string.format('%d %d %d %d', box.count, box.bytes, box.earliest, box.lives)
          local walk = box.walk
          if walk then
            value = value .. string.format(' %.0f-%.0f %d %d', walk.ms, walk.counter, walk.count, walk.bytes)
          end
          set[#set + 1], set[#set + 2] = box.name, value
        elseif box.known and twin.mailboxes > 0 then
          redis.pcall('HDEL', stored, box.name)
        end
      end
    end
    if changed then
      if twin.mailboxes == 0 then redis.pcall('DEL', stored) else redis.pcall(unpack(set)) end
    end
  end
  if sums_count ~= 0 then redis.pcall('HINCRBY', sums, 'n', text(sums_count)) end
  if sums_bytes ~= 0 then redis.pcall('HINCRBY', sums, 'b', text(sums_bytes)) end
end
""".replace("<longer>", str(KEEP_LONGER_S))

APPEND = (
    _COMMON
    + TELL
    + r"""
local last = redis.call('GET', KEYS[1])
if last and string.find(last, ARGV[1] .. ' ', 1, true) == 1 then return last end
local count_max, bytes_max, twin_count_max = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local twin_bytes_max, mailboxes_max, store_max = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local drop_oldest, dropped, dropped_bytes, dropped_max = ARGV[9] == '1', 0, 0, tonumber(ARGV[10])
local now, store_room = tonumber(ARGV[11]), store_max - tonumber(redis.call('HGET', KEYS[3], 'b') or 0)
local results = {ARGV[1], ''}

local function limit(box, size, present)
  if box.count >= count_max then return 'count' end
  if box.bytes + size > bytes_max then return 'bytes' end
  local twin = box.twin
  if not present then
    if twin.count >= twin_count_max then return 'twin_count' end
    if twin.bytes + size > twin_bytes_max then return 'twin_bytes' end
    if box.count == 0 and box.name ~= 'm' and twin.mailboxes >= mailboxes_max then return 'mailboxes' end
  end
  if sums_bytes + size > store_room then return 'store' end
end

local function worth_it(box, size, why)
  local twin = box.twin
  if why == 'count' then return true end
  if size > bytes_max or why == 'mailboxes' or why == 'store' then return false end
  if why == 'twin_count' then return twin.count - box.count < twin_count_max end
  if why == 'twin_bytes' then return twin.bytes - box.bytes + size <= twin_bytes_max end
  return true
end

local at = 10 + #KEYS
while at <= #ARGV do
  local k, m = 3 * ARGV[at] + 1, 10 + 3 * ARGV[at]
  local expires, ttl, present, items = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3] == '1', ARGV[at + 4]
  at = at + 5
  local box, problem = open(KEYS[k], KEYS[k + 1], ARGV[m])
  for n = at, at + items - 1 do
    local data, result = ARGV[n], nil
    if box then
      local why = limit(box, #data, present)
      while why and drop_oldest and box.count > 0 and dropped_bytes < dropped_max and worth_it(box, #data, why) do
        local oldest = redis.pcall('XRANGE', box.key, '-', '+', 'COUNT', 1)[1]
        if not oldest then break end
        local size = size_of(oldest[2])
        redis.call('XDEL', box.key, oldest[1])
        removed(box, oldest[1], size)
        redis.pcall('RPUSH', KEYS[2], oldest[2][2] or '')
        dropped, dropped_bytes = dropped + 1, dropped_bytes + size
        why = limit(box, #data, present)
      end
      if why then
        result = '?' .. why
      else
        local id = redis.pcall('XADD', box.key, '*', '_', data)
        if type(id) == 'table' then
          problem = id['err']
        else
          change(box, 1, #data)
          result = id .. '-' .. text(box.count) .. tell(KEYS[k + 2], ARGV[m + 1], ARGV[m + 2], ARGV[12])
          if expires < box.earliest then box.earliest = expires end
          box.ttl = math.max(box.ttl or 0, ttl)
        end
      end
    end
    results[#results + 1] = result or ('!' .. string.gsub(problem, '%s', '\t'))
  end
  at = at + items
end
for key, box in pairs(boxes) do
  if box.ttl and now + box.ttl > box.lives then
    box.lives = now + box.ttl + LONGER
    redis.call('EXPIRE', key, text(box.ttl + LONGER))
  end
end
save(KEYS[3])
if dropped > 0 then redis.pcall('EXPIRE', KEYS[2], ARGV[2]) end
results[2] = text(dropped)
local result = table.concat(results, ' ')
redis.pcall('SET', KEYS[1], result, 'EX', ARGV[2])
publish()
return result
"""
)
"""Append a batch, unless it was appended before.

KEYS: marker, list of what was dropped, sums; then mailbox, counters and presence of each mailbox.
ARGV: number of the batch; seconds the marker lives; the caps count, bytes, twin_count, twin_bytes, mailboxes, store; 1
to drop the oldest; bytes dropped at most; Unix second; our process; then of each mailbox: name of its field, its field
of presence, its owner; then runs of items for one mailbox: its place among the mailboxes, from 1; second to look for
them, seconds their mailbox has to live, 1 if its session is connected, how many they are, their data. Runs, since each
argument costs a client in Python half a microsecond and more, and items that follow each other are mostly alike.
Returns: number of the batch, entries dropped, then for each item `<id>-<depth>`, `?<limit>` or `!<error>`. After the
depth comes what `presence_script.TELL` adds.
"""

REMOVE = (
    _COMMON
    + r"""
local results, at = {}, 1
for i = 2, #KEYS, 2 do
  local name, number = ARGV[at], tonumber(ARGV[at + 1])
  local first = at + 2
  at = first + number
  local box, problem = open(KEYS[i], KEYS[i + 1], name, true)
  local found = redis.pcall('XRANGE', KEYS[i], ARGV[first], ARGV[at - 1], 'COUNT', number)
  if not box or found['err'] then
    results[#results + 1] = '!' .. string.gsub(problem or found['err'], '%s', '\t')
  else
    local sizes, flags = {}, {}
    for _, entry in ipairs(found) do sizes[entry[1]] = size_of(entry[2]) end
    local all_seen, gone = #found < number, {'XDEL', KEYS[i]}
    for n = first, at - 1 do
      local id = ARGV[n]
      local size = sizes[id]
      if size == nil and not all_seen then
        local one = redis.call('XRANGE', KEYS[i], id, id)[1]
        size = one and size_of(one[2])
      end
      if size then
        removed(box, id, size)
        gone[#gone + 1] = id
        if #gone == 1000 then
          redis.call(unpack(gone))
          gone = {'XDEL', KEYS[i]}
        end
      end
      sizes[id] = false
      flags[#flags + 1] = size and '1' or '0'
    end
    if #gone > 2 then redis.call(unpack(gone)) end
    results[#results + 1] = table.concat(flags)
  end
end
save(KEYS[1])
return results
"""
)
"""Remove entries.

KEYS: sums; then mailbox and counters of each item.
ARGV: of each item name of its field, number of ids, the ids in their order.
Returns: for each item a text of 1 for each entry that was there, 0 for each that was not, or `!<error>`.
"""

READ = """
local page, size, last = {}, 0, ARGV[1]
while #page < tonumber(ARGV[2]) and size < tonumber(ARGV[3]) do
  local found = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)
  if #found == 0 then return {1, page} end
  page[#page + 1] = found[1]
  last = found[1][1]
  for _, value in ipairs(found[1][2]) do size = size + #value end
end
return {0, page}
"""
"""A page of a mailbox.

KEYS: mailbox. ARGV: id before it; entries and bytes at most. Returns: whether it is the last, and the page.
"""

CHECK = (
    _COMMON
    + r"""
local due = {}
for i = 3, #KEYS do
  local box = open(KEYS[i], KEYS[2], ARGV[i - 1])
  if box and box.count > 0 and box.earliest <= tonumber(ARGV[1]) then due[#due + 1] = i - 2 end
end
save(KEYS[1])
return due
"""
)
"""Correct the counts of mailboxes of one twin, and tell which have to be looked through.

KEYS: sums, counters, mailboxes. ARGV: Unix second; names of the fields. Returns: numbers of those, from 1.
"""

WALK = (
    _COMMON
    + r"""
local box, problem = open(KEYS[2], KEYS[3], ARGV[1])
if not box then return redis.error_reply(problem) end
local walk, page, size, complete = box.walk, {}, 0, 0
if ARGV[2] ~= '' then
  walk = {ms = 0, counter = 0, count = 0, bytes = 0}
  box.walk, box.earliest = walk, tonumber(ARGV[2])
end
if walk and box.count > 0 then
  local last = string.format('%.0f-%.0f', walk.ms, walk.counter)
  while #page < tonumber(ARGV[3]) and size < tonumber(ARGV[4]) do
    local found = redis.call('XRANGE', KEYS[2], '(' .. last, '+', 'COUNT', 1)
    if #found == 0 then complete = 1 break end
    page[#page + 1], last = found[1], found[1][1]
    local bytes = size_of(found[1][2])
    size, walk.count, walk.bytes = size + bytes, walk.count + 1, walk.bytes + bytes
  end
  local ms, counter = string.match(last, '^(%d+)%-(%d+)$')
  walk.ms, walk.counter = tonumber(ms), tonumber(counter)
  if complete == 1 then
    change(box, 0, walk.bytes - box.bytes)
    box.walk = nil
  end
else
  complete = 1
end
box.changed = true
save(KEYS[1])
return {complete, page}
"""
)
"""Count a mailbox anew, page by page, while everybody goes on using it.

KEYS: sums, mailbox, counters.
ARGV: name of the field; the second until which nobody needs to begin another walk, or nothing to go on with one;
entries and bytes at most.
Returns: whether the walk has ended, and the page.
"""

SETTLE = (
    _COMMON
    + r"""
local box = open(KEYS[2], KEYS[3], ARGV[1])
if box and box.count > 0 and tonumber(ARGV[2]) < box.earliest then
  box.earliest, box.changed = tonumber(ARGV[2]), true
end
save(KEYS[1])
return 0
"""
)
"""After a walk: look through the mailbox again at this second, or earlier if something appended meanwhile says so.

KEYS: sums, mailbox, counters. ARGV: name of the field; Unix second.
"""

SET_SUMS = """
local now = redis.call('HMGET', KEYS[1], 'n', 'b')
if (now[1] or '0') ~= ARGV[1] or (now[2] or '0') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'n', ARGV[3], 'b', ARGV[4])
return 1
"""
"""Replace the sums, if nobody has changed them since they were read. KEYS: sums. ARGV: old and new ones."""
