//! What Redis decides by itself, in Lua: what compares before it writes, and what would else be several round trips.
//!
//! Each is sent as text with every call, so a server that was restarted or flushed has lost none. What a reader is told
//! is decided in `answers`, from what a script found.

/// Writes the visible runs unless the same or a newer version is there, and says `written`; or `replaced`, if what stood
/// there was no list. Else it says `kept`, and what: to be sent again as a wreck, to be replaced, if nobody can read it.
pub(super) const PUT_VISIBLE: &str = "
    local kind = redis.call('TYPE', KEYS[1]).ok
    local said = 'written'
    if kind ~= 'hash' and kind ~= 'none' then
        redis.call('DEL', KEYS[1])
        said = 'replaced'
    end
    local held = redis.call('HMGET', KEYS[1], 'version', 'runs', 'sum')
    local version, offered = tonumber(held[1] or ''), tonumber(ARGV[1])
    local is_wreck = ARGV[5] and true
    for place = 1, 3 do
        is_wreck = is_wreck and (held[place] or '') == ARGV[4 + place]
    end
    if is_wreck or (version == nil and (held[1] or held[2])) then
        redis.call('DEL', KEYS[1])
        said = 'replaced'
    elseif version ~= nil and version >= offered then
        if version == offered then
            redis.call('EXPIRE', KEYS[1], ARGV[4])
        end
        return {'kept', held[1], held[2], held[3]}
    end
    redis.call('HSET', KEYS[1], 'version', ARGV[1], 'runs', ARGV[2], 'sum', ARGV[3])
    redis.call('EXPIRE', KEYS[1], ARGV[4])
    return {said}";

/// Puts visible runs in the place of others if they are still these.
pub(super) const REPLACE_VISIBLE: &str = "
    local held = redis.call('HMGET', KEYS[1], 'version', 'runs')
    if held[1] == ARGV[1] and held[2] == ARGV[2] then
        redis.call('HSET', KEYS[1], 'version', ARGV[3], 'runs', ARGV[4], 'sum', ARGV[5])
        redis.call('EXPIRE', KEYS[1], ARGV[6])
        return 1
    end
    return 0";

/// Writes the progress of a run unless what is there is further: [`batch::Progress::is_further_than`], in Lua. Says
/// whether it `kept` that, has `written`, or `replaced` what was no progress.
pub(super) const PUT_PROGRESS: &str = "
    local offered = cjson.decode(ARGV[1])
    local function reached(progress)
        return { progress.done, progress.values + progress.rejections, progress.dead }
    end
    local function is_further(json)
        local held = cjson.decode(json)
        if held.chunks ~= offered.chunks or held.customers ~= offered.customers then
            return false
        end
        local there, here = reached(held), reached(offered)
        for place = 1, 3 do
            if there[place] ~= here[place] then
                return there[place] > here[place]
            end
        end
        return false
    end
    -- Nothing, or what is no progress, is an error here and keeps nobody out.
    local held = redis.pcall('GET', KEYS[1])
    local is_progress, stays = pcall(is_further, held)
    if is_progress and stays then
        return 'kept'
    end
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
    return held and not is_progress and 'replaced' or 'written'";

/// Removes what is no hash, and says how much that was.
pub(super) const CLEAR: &str = "
    local cleared = 0
    for _, key in ipairs(KEYS) do
        local kind = redis.call('TYPE', key).ok
        if kind ~= 'hash' and kind ~= 'none' then
            cleared = cleared + redis.call('DEL', key)
        end
    end
    return cleared";

/// Looks a customer up in the visible runs, newest first, in one round trip. Under a run that has nothing of him it finds
/// what tells whether it ever had; at the first that has something, or whose directory is not there, it ends.
pub(super) const VALUE: &str = "
    -- What is of another type is found as bytes that mean nothing.
    local function ask(...)
        local answer = redis.pcall(...)
        if type(answer) == 'table' and answer.err then
            return '', {'', ''}
        end
        return answer, answer
    end
    local is_list, found = ask('HMGET', KEYS[1], 'version', 'runs', 'sum')
    if is_list == '' then
        return {''}
    end
    for run in string.gmatch(found[2] or '', '%S+') do
        local packed = ask('HGET', ARGV[1] .. run .. ':' .. ARGV[3], ARGV[4])
        found[#found + 1] = packed
        if packed then
            return found
        end
        local members = ARGV[2] .. run
        local pages = ask('HGET', members, 'pages')
        local number = tonumber(pages or '')
        found[#found + 1] = pages
        if not number then
            return found
        end
        found[#found + 1] = ask('HGET', members, string.format('%.0f', ARGV[5] % number))
    end
    return found";
