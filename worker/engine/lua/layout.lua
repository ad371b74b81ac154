-- layout: write down how the queue is laid out, or refuse another layout.
--
-- Writes layout.
-- ARGV  shards; record version that the caller writes, or reads when it is a worker; worker = 1 for a worker.
local refusal = refuse_layout(ARGV[1], ARGV[2])
if not refusal then
  if ARGV[3] == '1' and tonumber(ARGV[2]) > tonumber(redis.call('HGET', P .. 'layout', 'version')) then
    redis.call('HSET', P .. 'layout', 'version', ARGV[2])
  end
  return 'known'
end
if not string.find(refusal.err, 'NOLAYOUT') then return refusal end
redis.call('HSET', P .. 'layout', 'shards', ARGV[1], 'version', ARGV[2])
return 'new'
