-- trim: let go of the outcomes that every group has handled, and of those that are too many or too old.
--
-- Writes outcomes, missed.
-- ARGV  most entries; most ms that an entry, or a group that nobody reads, is kept; newest entries that stay though
--       every group has handled them; most entries that this call looks at one by one.
-- Gives {1 when more is to be cut, {removed group, ...}, {group, entries that it missed, ...}}.
local stream, missed = P .. 'outcomes', P .. 'missed'
local max_len, max_age_ms, kept, batch = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
-- A removed group is told what it missed if it comes back within this time.
local REMEMBERED_MS = 90 * 86400000
-- Entries that one call cuts without a look at them: whole nodes of the stream.
local CUT_MAX = 10000
if redis.call('EXISTS', stream) == 0 then return { 0, {}, {} } end

-- An id of an entry as two numbers.
local function place(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return { ms = tonumber(ms), seq = tonumber(seq) }
end

local function is_before(a, b)
  return a.ms < b.ms or (a.ms == b.ms and a.seq < b.seq)
end

local function text(at) return string.format('%.0f-%.0f', at.ms, at.seq) end

local function after(at) return { ms = at.ms, seq = at.seq + 1 } end

local function named(row)
  local found = {}
  for i = 1, #row, 2 do found[row[i]] = row[i + 1] end
  return found
end

-- A full server lets a script write only after a first write that needs no memory: this one changes nothing.
redis.call('HDEL', missed, '')
local notes = named(redis.call('HGETALL', missed))

-- Whether nobody has read as this group for too long. Of a living one, consumers that are gone are removed.
local function is_gone(group)
  local consumers, made = redis.call('XINFO', 'CONSUMERS', stream, group.name), 'made ' .. group.name
  if #consumers == 0 then
    if not notes[made] then redis.call('HSET', missed, made, AT) end
    return notes[made] and NOW - notes[made] > max_age_ms
  end
  local gone = {}
  for _, row in ipairs(consumers) do
    local one = named(row)
    if one.idle > max_age_ms then gone[#gone + 1] = one end
  end
  if #gone == #consumers then return true end
  for _, one in ipairs(gone) do
    if one.pending == 0 then redis.call('XGROUP', 'DELCONSUMER', stream, group.name, one.name) end
  end
  if notes[made] then redis.call('HDEL', missed, made) end
  return false
end

local lost = {}
local function note_missed(name, count, since_ms)
  if count == 0 then return end
  redis.call('HINCRBY', missed, 'count ' .. name, count)
  redis.call('HSETNX', missed, 'since ' .. name, string.format('%.0f', since_ms))
  lost[name] = (lost[name] or 0) + count
end

local function remove(group)
  -- What its consumers had in hand was given to them longer ago than an entry is kept.
  local pending = group.pending > 0 and redis.call('XPENDING', stream, group.name)
  redis.call('XGROUP', 'DESTROY', stream, group.name)
  if pending then note_missed(group.name, pending[1], place(pending[2]).ms) end
  redis.call('HDEL', missed, 'made ' .. group.name)
  redis.call('HSET', missed, 'left ' .. group.name, group['last-delivered-id'] .. ' ' .. AT)
end

-- The living groups, and where the slowest of them is; those that were removed.
local groups, left, removed, handled = {}, {}, {}, nil
for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local group = named(row)
  local field = 'left ' .. group.name
  group.at = place(group['last-delivered-id'])
  if notes[field] then redis.call('HDEL', missed, field) end
  notes[field] = nil
  if is_gone(group) then
    remove(group)
    removed[#removed + 1] = group.name
    left[#left + 1] = { name = group.name, at = group.at, pending = 0 }
  else
    groups[#groups + 1] = group
    local first = group.pending > 0 and place(redis.call('XPENDING', stream, group.name)[2]) or after(group.at)
    if not handled or is_before(first, handled) then handled = first end
  end
end
for field, note in pairs(notes) do
  local name = string.match(field, '^left (.*)$')
  if name then
    local id, at = string.match(note, '^(%S+) (%d+)$')
    if NOW - at > REMEMBERED_MS then
      redis.call('HDEL', missed, field, 'count ' .. name, 'since ' .. name)
    else
      left[#left + 1] = { name = name, at = place(id), pending = 0 }
    end
  end
end

-- Note what a group had not handled of entries that were cut.
local function count_missed(group, cut)
  local count, since_ms = 0, nil
  for _, at in ipairs(cut) do
    if is_before(group.at, at) then
      count = count + 1
      since_ms = since_ms or at.ms
    end
  end
  if group.pending > 0 then
    for _, row in ipairs(redis.call('XPENDING', stream, group.name, '-', text(cut[#cut]), #cut)) do
      count = count + 1
      since_ms = math.min(since_ms or math.huge, place(row[1]).ms)
      redis.call('XACK', stream, group.name, row[1])
    end
  end
  note_missed(group.name, count, since_ms)
end

-- Cut whole nodes, of which nobody needs an entry; how many entries went.
local function cut_unseen()
  if #left > 0 then return 0 end
  if handled then
    local excess = math.min(redis.call('XLEN', stream) - kept, CUT_MAX)
    return excess > 0 and redis.call('XTRIM', stream, 'MINID', '~', text(handled), 'LIMIT', excess) or 0
  end
  local cut = redis.call('XTRIM', stream, 'MINID', '~', string.format('%.0f', math.max(0, T - max_age_ms)))
  return cut + redis.call('XTRIM', stream, 'MAXLEN', '~', max_len)
end

-- The first rows that are too many or too old; once a group was removed, also those that all others have handled.
local function surplus(n)
  local length, found = redis.call('XLEN', stream), {}
  for i, row in ipairs(redis.call('XRANGE', stream, '-', '+', 'COUNT', n)) do
    local at = place(row[1])
    local done = #left > 0 and handled and i <= length - kept and is_before(at, handled)
    if not (done or i <= length - max_len or T - at.ms > max_age_ms) then break end
    found[i] = at
  end
  return found
end

local more = cut_unseen() > CUT_MAX / 2
if #groups + #left > 0 and #surplus(1) > 0 then
  local cut = surplus(batch)
  redis.call('XTRIM', stream, 'MINID', text(after(cut[#cut])))
  for _, group in ipairs(groups) do count_missed(group, cut) end
  for _, group in ipairs(left) do count_missed(group, cut) end
  more = more or #cut == batch
end

local told = {}
for name, count in pairs(lost) do
  told[#told + 1] = name
  told[#told + 1] = count
end
return { more and 1 or 0, removed, told }
