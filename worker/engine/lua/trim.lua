-- trim: let go of the outcomes that every group has handled, and of those that are too many or too old.
--
-- Writes outcomes, missed.
-- ARGV  most entries; most ms that an entry, or a group that nobody reads, is kept; most entries that this call
--       cuts before a group has handled them.
-- Gives {1 when more is to be cut, {removed group, ...}, {group, entries that it missed, ...}}.
local stream, missed = P .. 'outcomes', P .. 'missed'
local max_len, max_age_ms, batch = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('EXISTS', stream) == 0 then return { 0, {}, {} } end

local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function is_before(a, b)
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end

local function after(id)
  local ms, seq = parts(id)
  return string.format('%.0f-%.0f', ms, seq + 1)
end

local function named(row)
  local found = {}
  for i = 1, #row, 2 do found[row[i]] = row[i + 1] end
  return found
end

-- Whether nobody has read as this group for too long. Consumers that are gone are removed from a living one.
local function is_gone(group)
  local consumers = redis.call('XINFO', 'CONSUMERS', stream, group.name)
  if #consumers == 0 then
    redis.call('HSETNX', missed, 'made ' .. group.name, AT)
    return NOW - redis.call('HGET', missed, 'made ' .. group.name) > max_age_ms
  end
  local idle = {}
  for _, row in ipairs(consumers) do
    local one = named(row)
    if one.idle > max_age_ms then idle[#idle + 1] = one end
  end
  if #idle == #consumers then return true end
  for _, one in ipairs(idle) do
    if one.pending == 0 then redis.call('XGROUP', 'DELCONSUMER', stream, group.name, one.name) end
  end
  return false
end

local function remove(group)
  redis.call('XGROUP', 'DESTROY', stream, group.name)
  for _, word in ipairs({ 'made', 'count', 'since' }) do redis.call('HDEL', missed, word .. ' ' .. group.name) end
end

-- Note what a group has not handled of the first n rows, which are about to be cut; how many that is.
local function note_missed(group, rows, n)
  local count, since = 0, nil
  for i = 1, n do
    if is_before(group['last-delivered-id'], rows[i][1]) then
      count = count + 1
      since = since or rows[i][1]
    end
  end
  if group.pending > 0 then
    for _, row in ipairs(redis.call('XPENDING', stream, group.name, '-', rows[n][1], n)) do
      count = count + 1
      if not since or is_before(row[1], since) then since = row[1] end
      redis.call('XACK', stream, group.name, row[1])
    end
  end
  if count > 0 then
    redis.call('HINCRBY', missed, 'count ' .. group.name, count)
    redis.call('HSETNX', missed, 'since ' .. group.name, (string.match(since, '^%d+')))
  end
  return count
end

-- How many of the first rows are too many or too old.
local function surplus(rows)
  local excess, n = redis.call('XLEN', stream) - max_len, 0
  for i, row in ipairs(rows) do
    if i > excess and NOW - parts(row[1]) <= max_age_ms then break end
    n = i
  end
  return n
end

local groups, removed, lost = {}, {}, {}
local handled
for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local group = named(row)
  if is_gone(group) then
    remove(group)
    removed[#removed + 1] = group.name
  else
    groups[#groups + 1] = group
    local first = group.pending > 0 and redis.call('XPENDING', stream, group.name)[2] or after(group['last-delivered-id'])
    if not handled or is_before(first, handled) then handled = first end
  end
end
if handled then redis.call('XTRIM', stream, 'MINID', '~', handled) end
local n = surplus(redis.call('XRANGE', stream, '-', '+', 'COUNT', 1))
if n == 0 then return { 0, removed, lost } end
local rows = redis.call('XRANGE', stream, '-', '+', 'COUNT', batch)
n = surplus(rows)
for _, group in ipairs(groups) do
  local count = note_missed(group, rows, n)
  if count > 0 then
    lost[#lost + 1] = group.name
    lost[#lost + 1] = count
  end
end
redis.call('XTRIM', stream, 'MINID', after(rows[n][1]))
return { n == #rows and 1 or 0, removed, lost }
