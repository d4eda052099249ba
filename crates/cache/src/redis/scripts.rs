//! What Redis decides by itself, in Lua: what compares before it writes, and what would else be several round trips.
//!
//! Each is sent as text with every call, so a server that was restarted or flushed has lost none.

/// Writes the visible runs unless the same or a newer version is there.
pub(super) const PUT_VISIBLE: &str = "
    local held = tonumber(redis.call('HGET', KEYS[1], 'version'))
    local offered = tonumber(ARGV[1])
    if held == nil or held < offered then
        redis.call('HSET', KEYS[1], 'version', ARGV[1], 'runs', ARGV[2])
        redis.call('EXPIRE', KEYS[1], ARGV[3])
        return 1
    end
    if held == offered then
        redis.call('EXPIRE', KEYS[1], ARGV[3])
    end
    return 0";

/// Deletes the visible runs if they are still these.
pub(super) const FORGET_VISIBLE: &str = "
    local held = redis.call('HMGET', KEYS[1], 'version', 'runs')
    if held[1] == ARGV[1] and held[2] == ARGV[2] then
        redis.call('DEL', KEYS[1])
        return 1
    end
    return 0";

/// Writes the progress of a run unless what is there is further: [`batch::Progress::is_further_than`], in Lua.
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
    local is_progress, stays = pcall(is_further, redis.call('GET', KEYS[1]))
    if is_progress and stays then
        return 0
    end
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
    return 1";

/// Looks a customer up in the visible runs, newest first, in one round trip.
pub(super) const VALUE: &str = "
    local runs = redis.call('HGET', KEYS[1], 'runs')
    if not runs then
        return false
    end
    for run in string.gmatch(runs, '%S+') do
        local packed = redis.call('HGET', ARGV[1] .. run .. ':' .. ARGV[2], ARGV[3])
        if packed then
            return {run, packed}
        end
    end
    return false";
