-- May so many more come now? The generic cell rate algorithm, by the clock of Redis.
-- KEYS key | ARGV interval_us burst cost (0 only looks, below 0 gives back)
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local new = math.max(tat + cost * interval, now)
local room = now + burst * interval
if cost > 0 and new > room then
  return {0, math.floor((room - tat) / interval), math.ceil(new - room), math.ceil(tat - now)}
end
if cost ~= 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', new), 'PX', math.max(1, math.ceil((new - now) / 1000)))
end
return {1, math.floor((room - new) / interval), 0, math.ceil(new - now)}
