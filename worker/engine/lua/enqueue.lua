-- enqueue: take in n jobs; each becomes a record, or is the known one, or is refused as a conflict.
--
-- Writes job:<id>, msg:<id>, q:<queue>:{line:<site>:<lane>, lines, turn, delayed, deadlines, bell}, queues.
-- ARGV  n entries of 11: id, mode, mark, queue, actor, site, lane, key, delay_ms, deadline_ms, message.
-- Gives n pairs: "new" | "known" | "conflict" | "again", and the state of the record.
--
-- The first write is one that a full Redis refuses, so the whole call is refused or none of it.
local reply = {}
local rung = {}
for i = 1, #ARGV, ENTRY_SIZE do
  local e = entry_at(i)
  local word = accept(e)
  if word == 'new' then
    if not rung[e.queue] then
      rung[e.queue] = true
      redis.call('SADD', P .. 'queues', e.queue)
    end
  end
  reply[#reply + 1] = { word, redis.call('HGET', job_key(e.id), 'state') }
end
for queue in pairs(rung) do ring(queue) end
return reply
