-- open tells that the generation is the one that is served, and whether its shard lost its data. It stands behind an HGETALL
-- on the same connection (see read.go). It changes nothing.
--
-- KEYS  1 generation
-- returns "ready", "lost" or "fenced"

return state == READY and 'ready' or 'lost'
