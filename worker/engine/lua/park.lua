-- park: hand out no more jobs of a site; they stay in their lines.
--
-- Writes site:<site>, sites, q:*:turn. Reads queues.
-- ARGV  site, reason.
park(ARGV[1], ARGV[2])
return 'parked'
