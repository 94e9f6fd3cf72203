"""How scripts in the store read and write presence. It refuses to know when they run.

An entry is `<process>:<registration>:<foreign>`. The last number counts what *other* processes have appended to the
session's mailbox since it was entered. Every append of the session's own process is answered with it, and every other
append publishes it; so a feed sees exactly when something is in its mailbox that did not pass through its process.
"""

from relay.mailboxes import Receipt

ENTRY_SECONDS = 24 * 3600
"""An entry that is not renewed is forgotten after this time, with its process; a guess."""

ENTRIES_SWEPT_AT = 32
"""Entries of one twin at which those of dead processes are taken out; a guess, more than most twins have sessions."""

TELL = """
local told, same = {}, {}
local function tell(key, field, owner, process)
  if same[owner] then return same[owner] end
  local at = redis.pcall('HGET', key, field)
  local there, registration, foreign
  if type(at) == 'string' then there, registration, foreign = string.match(at, '^(.*):(%d+):(%d+)$') end
  if not there or there == process then
    same[owner] = there and '-' .. registration .. '-' .. foreign or ''
    return same[owner]
  end
  foreign = string.format('%d', tonumber(foreign) + 1)
  redis.pcall('HSET', key, field, there .. ':' .. registration .. ':' .. foreign)
  told[there .. ' ' .. owner] = {'relay.process.' .. there, 'more ' .. registration .. ' ' .. foreign .. ' ' .. owner}
  return ''
end
local function publish()
  for _, news in pairs(told) do redis.pcall('PUBLISH', news[1], news[2]) end
end
"""
"""For the script that appends: `tell` after each append gives what is added to its result; `publish` comes last."""

KEEP = (
    """
local process, seconds, living, results = ARGV[1], ARGV[2], ARGV[3], {}
local function sweep(key)
  local entries = redis.call('HGETALL', key)
  for i = 1, #entries, 2 do
    local there = string.match(entries[i + 1], '^(.*):%d+:%d+$')
    if not there or not string.find(living, there, 1, true) then redis.call('HDEL', key, entries[i]) end
  end
end
for i = 1, #KEYS do
  local a = 5 * i - 1
  local act, field, registration, seen, owner = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local mine = process .. ':' .. registration
  local at = redis.call('HGET', KEYS[i], field)
  local there, number, foreign
  if at then there, number, foreign = string.match(at, '^(.*):(%d+):(%d+)$') end
  if act == 'leave' then
    if there == process and number == registration then redis.call('HDEL', KEYS[i], field) end
    results[i] = 0
  elseif there == process and number == registration then
    redis.call('EXPIRE', KEYS[i], seconds)
    results[i] = tonumber(foreign)
  elseif act == 'check' and at then
    results[i] = -2
  else
    if not at and redis.call('HLEN', KEYS[i]) >= """
    + str(ENTRIES_SWEPT_AT)
    + """ then sweep(KEYS[i]) end
    redis.call('HSET', KEYS[i], field, mine .. ':' .. seen)
    redis.call('EXPIRE', KEYS[i], seconds)
    if there and there ~= process then
      redis.call('PUBLISH', 'relay.process.' .. there, 'gone ' .. number .. ' 0 ' .. owner)
    end
    results[i] = (act == 'check') and -1 or tonumber(seen)
  end
end
return results
"""
)
"""For presence itself. Arguments: our process, the seconds, the processes that live; then for each key an act (`enter`,
`leave`, `check`), the field, the number of the registration, how many foreign entries it has seen, and the owner. The
answer is the count of foreign entries, `RESTORED` or `ELSEWHERE`."""

RESTORED = -1
"""The entry was missing, and is there again."""

ELSEWHERE = -2
"""Another registration has the place."""


def foreign_of(receipt: Receipt, registration: int) -> int:
    """How many entries of other processes came before this one, since this registration; 0 if that is not known."""
    return receipt.foreign[1] if receipt.foreign is not None and receipt.foreign[0] == registration else 0
