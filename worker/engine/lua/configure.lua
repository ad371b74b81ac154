-- configure: write down the budget of n sites, as the settings of a worker say.
--
-- Writes site:<site>, sites.
-- ARGV  n sites of 4: name, interval_ms (0 = no limit), burst_ms, max_in_flight (0 = no limit).
for i = 1, #ARGV, 4 do
  redis.call('HSET', site_key(ARGV[i]), 'interval_ms', ARGV[i + 1], 'burst_ms', ARGV[i + 2],
    'max_in_flight', ARGV[i + 3])
  redis.call('SADD', P .. 'sites', ARGV[i])
end
return #ARGV / 4
