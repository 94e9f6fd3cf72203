-- Forgets a lease list that holds nothing and whose worker is dead.
-- KEYS: announced lease lists, lease list, heartbeat
if redis.call("EXISTS", KEYS[2], KEYS[3]) == 0 then return redis.call("SREM", KEYS[1], KEYS[2]) end
return 0
