-- Consistent hashing: each node has 160 points a unit of weight on a ring, and a key
-- goes to the node of the next point. Nodes that come or go move only their share.
--   new(nodes) of id → weight, find(key) → id, reinit(nodes)
local crc32 = ngx.crc32_long
local floor = math.floor

local POINTS = 160

local _M = {}
local mt = { __index = _M }

local function load(self, nodes)
  local ring = {}
  for id, weight in pairs(nodes) do
    for i = 1, POINTS * weight do
      ring[#ring + 1] = { at = crc32(id .. "\0" .. i), id = id }
    end
  end
  -- By id where points meet, so that every worker has the same ring.
  table.sort(ring, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.id < b.id
  end)
  self.nodes, self.ring = nodes, ring
end

function _M.new(_, nodes)
  local self = setmetatable({}, mt)
  load(self, nodes)
  return self
end

function _M.reinit(self, nodes)
  load(self, nodes)
end

function _M.find(self, key)
  local ring = self.ring
  if #ring == 0 then return nil end
  local hash = crc32(tostring(key))
  local low, high = 1, #ring + 1
  while low < high do
    local middle = floor((low + high) / 2)
    if ring[middle].at < hash then low = middle + 1 else high = middle end
  end
  if low > #ring then low = 1 end
  return ring[low].id, low
end

return _M
