-- enqueue: take in n jobs; each becomes a record, or is the known one, or is refused as a conflict.
--
-- Writes job:<id>, msg:<id>, q:<queue>:{line:<site>:<lane>, lines, turn, delayed, deadlines, bell}, queues.
-- Reads layout.
-- ARGV  n entries of 11: id, mode, mark, queue, actor, site, lane, key, delay_ms, deadline_ms, message;
--       then, if the layout is to be checked, the number of shards and the version of the records.
-- Gives n lists: "new" | "known" | "conflict" | "again", the state of the record, and with "conflict" the
-- mark and the parts that are stored.
--
-- The first write is one that a full Redis refuses, so the whole call is refused or none of it.
local count = #ARGV - #ARGV % ENTRY_SIZE
if count < #ARGV then
  local refusal = refuse_layout(ARGV[count + 1], ARGV[count + 2])
  if refusal then return refusal end
end
local reply = {}
local rung = {}
local lines = {}

-- Jobs of one line are put into it together, once their records are written.
local function stand(e)
  local key = line_key(e.queue, e.site, e.lane)
  local line = lines[key]
  if not line then
    line = { queue = e.queue, site = e.site, lane = e.lane, ids = {} }
    lines[key] = line
    lines[#lines + 1] = line
  end
  line.ids[#line.ids + 1] = e.id
end

for i = 1, count, ENTRY_SIZE do
  local e = entry_at(i)
  local word, state, mark, parts = accept(e, stand)
  if word == 'new' then
    if not rung[e.queue] then
      rung[e.queue] = true
      redis.call('SADD', P .. 'queues', e.queue)
    end
  end
  reply[#reply + 1] = { word, state, mark, parts }
end
for _, line in ipairs(lines) do all_into_line(line.queue, line.site, line.lane, line.ids) end
for queue in pairs(rung) do ring(queue) end
return reply
