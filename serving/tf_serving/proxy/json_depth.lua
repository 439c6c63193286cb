-- Is the JSON of a request nested too deeply? TensorFlow Serving parses by recursion: enough brackets, and it has no
-- stack left and is gone (CVE-2025-0649).
--
--   http-request lua.json_depth 100      sets txn.json_is_shallow: true where nothing is nested deeper than 100
--
-- The scan follows JSON's own rules for strings: brackets inside them do not count, nor does a quote behind a
-- backslash. Where the text is no JSON, the parser behind stops at the first error, so whatever this scan makes of
-- the rest does no harm.

local QUOTE = 34
local OPENS = { [91] = true, [123] = true } -- [ {

-- Position behind the string whose text begins at `position`; nil: it never ends.
local function skip_string(text, position)
  while true do
    position = string.find(text, '["\\]', position)
    if position == nil then
      return nil
    end
    if string.byte(text, position) == QUOTE then
      return position + 1
    end
    position = position + 2 -- the backslash, and what it escapes
  end
end

-- Whether lists and objects are nested more than `limit` deep; looks no further than the first that is.
local function is_deeper(text, limit)
  local depth, position = 0, 1
  while true do
    position = string.find(text, '["%[%]{}]', position)
    if position == nil then
      return false
    end
    local byte = string.byte(text, position)
    if byte == QUOTE then
      position = skip_string(text, position + 1)
      if position == nil then
        return false
      end
    else
      depth = depth + (OPENS[byte] and 1 or -1)
      if depth > limit then
        return true
      end
      position = position + 1
    end
  end
end

core.register_action("json_depth", { "http-req" }, function(txn, limit)
  local body = txn.f:req_body()
  txn:set_var("txn.json_is_shallow", body == nil or not is_deeper(body, tonumber(limit)))
end, 1)
