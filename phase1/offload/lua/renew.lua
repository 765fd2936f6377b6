-- Still at work on it.
-- KEYS meta active | ARGV task epoch lease_ms ttl_s
local m = redis.call('HMGET', KEYS[1], 'epoch', 'state', 'cancel')
if not m[1] then return {-4, 0, ''} end
if m[2] == 'done' then return {-1, 0, ''} end
if ARGV[2] ~= m[1] then return {-2, 0, ''} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {1, 0, m[3]}
