-- What moved between a finished run and the run before it, by segment and cause.

-- A comparison of two runs: how far it has come, and who is at work on it.
create table fleet.comparisons (
    run_id         bigint primary key references fleet.runs on delete cascade,
    -- Null: there is none.
    before_run_id  bigint,
    state          text not null default 'open' check (state in ('open', 'complete', 'impossible')),
    -- The fencing token: only who took it last may add to it.
    attempt        integer not null,
    worker         text not null,
    leased_until   timestamptz,
    -- The last customer who is counted, and how many are.
    after_customer bigint,
    customers      bigint not null default 0,
    begun_at       timestamptz not null default now(),
    ended_at       timestamptz,
    -- Why it is impossible.
    reason         text
);

-- While a comparison is open, several rows for a cause in a segment, which each of its pieces adds to; then one. A segment
-- without a name holds those who were in none.
create table fleet.movements (
    run_id      bigint not null references fleet.comparisons on delete cascade,
    segment     text,
    cause       text not null check (cause in ('entered', 'left', 'rejected', 'recovered', 'moved_in', 'moved_out',
                                               'model', 'corrected', 'time', 'events')),
    customers   bigint not null,
    value_minor bigint not null
);

create index movements_of_run on fleet.movements (run_id);
