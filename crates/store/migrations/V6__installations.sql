-- Which installation this database is: a history that is only ever added to, and the last row is in force. The identity
-- travels in messages and in the names of queues and keys, so that two installations that share a broker or a Redis
-- never meet. A program of the release before knows nothing of it, and shares no queue and no key with one that does.

create table fleet.installations (
    number       bigint generated always as identity primary key,
    installation text not null unique check (installation ~ '^[0-9a-f]{16}$'),
    -- Not now(): a transaction that waited for the lock began before the row in front of it.
    since        timestamptz not null default clock_timestamp(),
    made_by      text not null,
    reason       text not null,
    -- Where the database stood. One that stands elsewhere is a copy, and the first may still be at work.
    place        text not null
);

create trigger installations_are_immutable
    before update or delete or truncate on fleet.installations
    for each statement execute function fleet.refuse_change();

-- The cluster and the database in it. A standby that is promoted is the same place; a dump that was loaded, a database
-- made from a template or an upgraded cluster is another one. It sees with its owner's rights, so that all see the same.
create function fleet.place() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
    select case when has_function_privilege('pg_control_system()', 'execute')
                then (select system_identifier::text from pg_control_system())
                else 'a cluster'
           end
           || '/' || (select oid::text from pg_database where datname = current_database())
$$;

-- Adds an identity of 64 random bits: those of a UUID of version 4 that are random.
create function fleet.new_installation(by_whom text, why text) returns text
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    insert into fleet.installations (installation, made_by, reason, place)
    select left(hex, 1) || right(hex, 15), by_whom, why, fleet.place()
      from (select replace(gen_random_uuid()::text, '-', '')) as random (hex)
    returning installation
$$;

-- The identity in force; one that was made elsewhere is renewed first, by whoever is the first to ask.
create function fleet.installation() returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    here constant text := fleet.place();
    latest fleet.installations;
begin
    select * into latest from fleet.installations order by number desc limit 1;
    if latest.place is distinct from here then
        perform pg_advisory_xact_lock(7814417235);
        select * into latest from fleet.installations order by number desc limit 1;
    end if;
    if latest.place is distinct from here then
        return fleet.new_installation(session_user::text,
            'this database was copied or restored from another one: ' || coalesce(latest.place, 'none'));
    end if;
    return latest.installation;
end
$$;

select fleet.new_installation(session_user::text, 'ltv migrate');

-- Who may add rows to the table may have them added.
revoke execute on function fleet.new_installation(text, text) from public;
