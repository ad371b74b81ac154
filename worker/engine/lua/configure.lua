-- configure: write down the budget of n sites, as the settings of a worker say.
--
-- Writes site:<site>, sites. A pace that a person set (see rate.lua) stands: the one of the settings is
-- kept beside it.
-- ARGV  n sites of 4: name, interval_ms (0 = no limit), burst_ms, max_in_flight (0 = no limit).
for i = 1, #ARGV, 4 do
  local key = site_key(ARGV[i])
  redis.call('HSET', key, 'set_interval_ms', ARGV[i + 1], 'set_burst_ms', ARGV[i + 2],
    'max_in_flight', ARGV[i + 3])
  if redis.call('HEXISTS', key, 'hand_rate') == 0 then
    redis.call('HSET', key, 'interval_ms', ARGV[i + 1], 'burst_ms', ARGV[i + 2])
  end
  redis.call('SADD', P .. 'sites', ARGV[i])
end
return #ARGV / 4
