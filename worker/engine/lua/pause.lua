-- pause: hand out no more jobs of a site until a person resumes it; they stay in their lines.
--
-- Writes site:<site>, sites, q:*:turn. Reads queues.
-- ARGV  site, reason.
pause(ARGV[1], ARGV[2])
return 'paused'
