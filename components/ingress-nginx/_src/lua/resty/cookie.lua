-- Cookies of the current request.
--   new(), get(name) → value | nil, reason; set{key, value, path, domain, expires,
--   max_age, samesite, secure, httponly, partitioned} adds a Set-Cookie header
local _M = {}
local mt = { __index = _M }

function _M.new()
  return setmetatable({}, mt)
end

-- Names of cookies tell upper from lower case, which nginx's $cookie_ variables do not.
function _M.get(_, name)
  for key, value in (ngx.var.http_cookie or ""):gmatch("([^=;%s]+)=([^;]*)") do
    if key == name then
      return (value:gsub("%s+$", ""))
    end
  end
  return nil, "no such cookie in the request"
end

function _M.set(_, cookie)
  if not cookie.key or cookie.value == nil then
    return nil, "a cookie needs key and value"
  end
  local parts = { cookie.key .. "=" .. cookie.value }
  local function add(name, value)
    if value == true then
      parts[#parts + 1] = name
    elseif value then
      parts[#parts + 1] = name .. "=" .. value
    end
  end
  add("Expires", cookie.expires)
  add("Max-Age", cookie.max_age)
  add("Domain", cookie.domain)
  add("Path", cookie.path)
  add("Secure", cookie.secure)
  add("HttpOnly", cookie.httponly)
  add("SameSite", cookie.samesite)
  add("Partitioned", cookie.partitioned)

  local headers = ngx.header["Set-Cookie"]
  if type(headers) ~= "table" then headers = { headers } end
  headers[#headers + 1] = table.concat(parts, "; ")
  ngx.header["Set-Cookie"] = headers
  return true
end

return _M
