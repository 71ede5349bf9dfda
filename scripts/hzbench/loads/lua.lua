-- SPDX-License-Identifier: Apache-2.0
-- Tables, strings, closures and coroutines; collected again and again.
local function hash(text)
  local h = 5381
  for i = 1, #text do h = (h * 33 + text:byte(i)) & 0xffffffff end
  return h
end

local tree = {}
for i = 1, 120000 do
  local key = "k" .. (i * 7919 % 9001)
  tree[key] = tree[key] or {}
  table.insert(tree[key], {i, tostring(i * 3), size = i % 100})
end
local keys = {}
for key in pairs(tree) do keys[#keys + 1] = key end
table.sort(keys)
print(#keys, hash(table.concat(keys, ",")))
for i = 1, #keys, 3 do tree[keys[i]] = nil end
collectgarbage()

local parts = {}
for i = 1, 60000 do parts[#parts + 1] = ("%d:%s"):format(i, ("x"):rep(i % 40)) end
local text = table.concat(parts, ";")
local changed, times = text:gsub("(%d+):", function(n) return tonumber(n) % 2 == 0 and "<" .. n .. ">" or nil end)
print(#text, times, hash(changed))

local sum = 0
for i = 1, 3000 do
  local co = coroutine.wrap(function() for j = 1, 10 do coroutine.yield(j * i) end end)
  for _ = 1, 10 do sum = sum + co() end
end
print(sum)
