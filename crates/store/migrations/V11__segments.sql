-- What the segments of a run come to, and in which segment each of its customers was then: a trend that asked today's
-- source.customers would be another one whenever a customer moves.
--
-- Both are worked out by the coordinator once readers see the run, in one transaction. Runs that were finished before
-- are left without: nobody knows any more who was in which segment.

-- A run for which that was done, or never will be. Without a reference, and with what a reader of a trend has to know:
-- a trend outlives the runs that it is made of.
create table fleet.figures (
    run_id        bigint primary key,
    selection     text not null,
    is_whole      boolean not null,
    as_of         timestamptz not null,
    model_version bigint not null,
    currency      char(3) not null,
    finished_at   timestamptz not null,
    computed_at   timestamptz not null default now(),
    -- Why there are none.
    reason        text
);

create table fleet.segment_figures (
    run_id          bigint not null references fleet.figures on delete cascade,
    -- -1: all customers of the run; 0: those of them without a segment; from 1 on: a segment each.
    number          integer not null check (number >= -1),
    segment         text,
    -- Those with a value; all but the last two columns are about them.
    customers       bigint not null,
    value_minor     bigint not null,
    contract_minor  bigint not null,
    historic_minor  bigint not null,
    -- Null together: nobody has a value.
    p10_minor       bigint,
    p50_minor       bigint,
    p90_minor       bigint,
    -- Of those who ever bought anything, the share that is expected to buy again; null where nobody ever did.
    share_alive     double precision,
    rejected        bigint not null,
    -- How many of those for which reason.
    rejections      jsonb not null,
    primary key (run_id, number),
    check ((segment is not null) = (number > 0))
);

-- Not a B-tree, which holds no name of a few thousand letters.
create index segment_figures_by_name on fleet.segment_figures using hash (segment);

-- The segments of a chunk's customers: a number of fleet.segment_figures for each, as crates/store/src/encoding/segments.rs
-- writes them, in the order of fleet.chunks.members. A row for each customer would cost as much as his value does.
create table fleet.pinned_segments (
    run_id   bigint not null,
    chunk_id integer not null,
    segments bytea not null,
    primary key (run_id, chunk_id),
    foreign key (run_id, chunk_id) references fleet.chunks on delete cascade
);

insert into fleet.figures
       (run_id, selection, is_whole, as_of, model_version, currency, finished_at, reason)
select run_id, selection, is_whole, as_of, model_version, currency, coalesce(finished_at, planned_at),
       'the run was finished by a release that did not note who is in which segment'
  from fleet.runs
  join fleet.model_versions using (model_version)
 where state = 'finished';
