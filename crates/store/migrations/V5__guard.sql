-- The guard before a run is shown: a settled run that lies too far from the run before is held until a person decides.
--
-- How to upgrade: migrate, then replace the programs, the coordinators first. A coordinator of the release before shows
-- every run that is settled, held by nobody; one that a newer dispatcher has planned, too. A run that an older dispatcher
-- planned has no limits and is not held; what an older worker committed is not counted, so that its run is compared by
-- its rejections and its customers alone. Programs of the release before do not know the two new states and cannot list
-- such runs.

alter table fleet.runs
    drop constraint runs_state_check,
    add constraint runs_state_check
        check (state in ('planned', 'running', 'held', 'finished', 'cancelled', 'rejected')),
    -- How far the run may lie from the run before; null: it is compared with none.
    add column limits jsonb,
    -- How many rows the source held, then and in the end.
    add column source_at_plan jsonb,
    add column source_at_end jsonb,
    -- What was found, and beside which run; and since when it waits.
    add column hold jsonb,
    add column held_at timestamptz,
    -- A person's word on it. Who released it has it finished by the next pass, unjudged.
    add column decision text check (decision in ('release', 'reject')),
    add column decided_at timestamptz,
    add column decided_by text,
    add column decided_because text,
    add constraint runs_decided_whole
        check ((decision is null) = (decided_at is null)
           and (decision is null) = (decided_by is null)
           and (decision is null) = (decided_because is null));

-- What a chunk's attempt read and came to, written with its `done`: the sums of a run cost a look at its chunks. Null
-- where a worker of the release before did it.
alter table fleet.chunks
    add column transactions bigint,
    add column value_minor bigint;
