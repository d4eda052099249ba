-- What the fleet itself keeps: model versions, runs, chunks, attempts, values, rejections, leadership.

create schema fleet;

-- Immutable: a run pins one, and a value is explained by it for ever.
create table fleet.model_versions (
    model_version    bigint generated always as identity primary key,
    created_at       timestamptz not null default now(),
    currency         char(3) not null,
    parameters       jsonb not null,
    fit              jsonb not null,
    data_fingerprint text not null,
    code_version     text not null
);

create table fleet.runs (
    run_id        bigint generated always as identity primary key,
    -- What makes two dispatchers of one night find the same run; null for a run that is wanted once more.
    night         text unique,
    selection     text not null,
    -- Whether the run covers the whole base, so that older runs need not be looked at behind it.
    is_whole      boolean not null,
    priority      text not null check (priority in ('critical', 'high', 'normal')),
    state         text not null check (state in ('planned', 'running', 'finished', 'cancelled')),
    as_of         timestamptz not null,
    model_version bigint not null references fleet.model_versions,
    terms         jsonb not null,
    planned_at    timestamptz not null default now(),
    deadline_at   timestamptz not null,
    started_at    timestamptz,
    finished_at   timestamptz,
    customers     bigint not null,
    chunks        integer not null,
    -- The order in which runs became visible; readers' caches never go back behind it.
    visible_version bigint unique,
    -- The trace that the run was dispatched in, for messages that are published again.
    trace         jsonb not null
);

create sequence fleet.visible_versions;

create table fleet.chunks (
    run_id       bigint not null references fleet.runs on delete cascade,
    chunk_id     integer not null,
    -- The planned customers, ascending: first_customer, then the differences as variable-length integers.
    first_customer bigint not null,
    last_customer  bigint not null,
    customers    integer not null,
    members      bytea not null,
    work         double precision not null,
    state        text not null default 'pending'
                 check (state in ('pending', 'published', 'leased', 'retryable', 'done', 'dead')),
    -- The fencing token: only the latest attempt may commit.
    attempt      integer not null default 0,
    published_at timestamptz,
    leased_until timestamptz,
    retry_at     timestamptz,
    settled_at   timestamptz,
    value_count     integer not null default 0,
    rejection_count integer not null default 0,
    primary key (run_id, chunk_id)
) with (fillfactor = 70);

-- The story of each chunk. An attempt without an outcome is at work, or nobody has missed it yet.
create table fleet.attempts (
    run_id   bigint not null,
    chunk_id integer not null,
    attempt  integer not null,
    worker   text not null,
    began_at timestamptz not null default now(),
    ended_at timestamptz,
    -- done: committed; failed: the chunk's own fault; lost: its worker never came back; excused: its worker did
    -- come back, or never heard that it had begun, or a person forgave it by a redrive; given_back: its worker was
    -- draining. Only failed and lost count towards a dead letter.
    outcome  text check (outcome in ('done', 'failed', 'lost', 'excused', 'given_back')),
    reason   text,
    primary key (run_id, chunk_id, attempt),
    foreign key (run_id, chunk_id) references fleet.chunks on delete cascade
) with (fillfactor = 70);

-- A run fills a table of its own, without an index; when the run finishes, the table gets its primary key and
-- becomes a partition here. What is not finished is not here.
create table fleet.values (
    run_id             bigint not null,
    customer_id        bigint not null,
    value_minor        bigint not null,
    expected_purchases double precision not null,
    p_alive            double precision not null,
    frequency          integer not null,
    recency_days       integer not null,
    age_days           integer not null,
    repeat_spend_minor bigint not null
) partition by list (run_id);

create table fleet.rejections (
    run_id      bigint not null references fleet.runs on delete cascade,
    customer_id bigint not null,
    chunk_id    integer not null,
    reason      text not null,
    primary key (run_id, customer_id)
);

-- One row a role: who leads it, under which term, until when. Terms only grow.
create table fleet.leadership (
    role       text primary key,
    leader     text not null,
    term       bigint not null,
    expires_at timestamptz not null
);
