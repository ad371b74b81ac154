-- configure: write down the budget of n sites, as the settings of a worker say.
--
-- Writes site:<site>, sites. A rate that a person set (see rate.lua) stands: the one of the settings is
-- kept beside it.
-- ARGV  n sites of 5: name, interval_ms (0 = no limit), burst_ms, max_in_flight (0 = no limit), key_mark: what
--       tells one key of the site from another, '' = as before. A site whose key is another one is called
--       as if it was new.
for i = 1, #ARGV, 5 do
  local key = site_key(ARGV[i])
  redis.call('HSET', key, 'set_interval_ms', ARGV[i + 1], 'set_burst_ms', ARGV[i + 2],
    'max_in_flight', ARGV[i + 3])
  if redis.call('HEXISTS', key, 'hand_rate') == 0 then
    redis.call('HSET', key, 'interval_ms', ARGV[i + 1], 'burst_ms', ARGV[i + 2])
  end
  local mark = ARGV[i + 4]
  if mark ~= '' and redis.call('HGET', key, 'key_mark') ~= mark then
    redis.call('HSET', key, 'key_mark', mark)
    redis.call('HDEL', key, 'ramp', 'success_at')
  end
  redis.call('SADD', P .. 'sites', ARGV[i])
end
return #ARGV / 5
