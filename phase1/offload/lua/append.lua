-- Write one frame, once, if its writer still is the owner.
-- KEYS meta stream active request | ARGV task epoch seq data channel ttl_s max_bytes end
local m = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'state', 'bytes', 'cancel')
if not m[1] then return {-4, 0, ''} end
local epoch, seq = tonumber(ARGV[2]), tonumber(ARGV[3])
local current, last = tonumber(m[1]), tonumber(m[2])
if epoch < current then return {-2, 0, ''} end
if epoch > current then return {-5, 0, ''} end
if seq <= last then return {0, 0, m[5]} end                       -- the reply to a first try was lost
if m[3] == 'done' then return {-1, 0, ''} end
if seq > last + 1 then return {-3, last, ''} end
local bytes = tonumber(m[4]) + #ARGV[4]
local over = ARGV[8] ~= ''
if not over and bytes > tonumber(ARGV[7]) then return {-6, 0, ''} end
local id = epoch .. '-' .. seq
redis.call('XADD', KEYS[2], id, 'd', ARGV[4])
if over then
  redis.call('HSET', KEYS[1], 'seq', seq, 'bytes', bytes, 'state', 'done', 'end', ARGV[8])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('DEL', KEYS[4])
else
  redis.call('HSET', KEYS[1], 'seq', seq, 'bytes', bytes)
end
redis.call('EXPIRE', KEYS[2], ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('PUBLISH', ARGV[5], id .. ' ' .. ARGV[4])
return {1, 0, m[5]}
