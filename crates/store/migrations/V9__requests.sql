-- Requests: urgent questions of one or some customers, and the answers that were committed for them.
--
-- Answers stand in one plain table: a partition for each question would cost the catalogue more than the answer. The
-- newest value of a customer is found among them and in the runs that readers see; once a run has something newer, and
-- the answer is old, it is deleted.

create table fleet.requests (
    request_id      bigint generated always as identity primary key,
    asked_by        text not null,
    -- What makes a repeat find the same request; null for a question that is not repeated.
    idempotency_key text,
    -- Tells what was asked, so that a key is not used for something else.
    fingerprint     bytea not null,
    -- About whom, ascending, as chunks hold their customers: the first, then the differences.
    first_customer  bigint not null,
    customer_count  integer not null check (customer_count > 0),
    members         bytea not null,
    -- A request that is waiting, or whose lease has expired, has expired itself once its time is over: that is read
    -- off the clock, and written down by nobody.
    state           text not null default 'waiting'
                    check (state in ('waiting', 'leased', 'answered', 'failed', 'abandoned')),
    asked_at        timestamptz not null default now(),
    expires_at      timestamptz not null,
    -- The fencing token, together with as_of: only the latest attempt may answer.
    attempt         integer not null default 0,
    worker          text,
    leased_until    timestamptz,
    retry_at        timestamptz,
    -- Attempts that failed, the reason of the last one, and the workers of those that were lost; a worker that comes
    -- back takes its name out.
    failures        integer not null default 0,
    reason          text,
    lost_by         text[] not null default '{}',
    -- Pinned by the first attempt, so that all value the same and a value can be explained.
    as_of           timestamptz,
    model_version   bigint references fleet.model_versions,
    terms           jsonb,
    settled_at      timestamptz,
    value_count     integer not null default 0,
    rejection_count integer not null default 0,
    -- The trace that it was asked in, for the worker that begins it.
    trace           jsonb not null,
    unique (asked_by, idempotency_key)
-- No index holds a column that changes, and pages have room: a request's few updates stay on its page.
) with (fillfactor = 70);

-- A customer's row as fleet.values has it, with the request for which it was computed; or a reason and nothing else.
create table fleet.answers (
    request_id         bigint not null,
    customer_id        bigint not null,
    as_of              timestamptz not null,
    model_version      bigint not null,
    reason             text,
    value_minor        bigint,
    value_24_minor     bigint,
    value_36_minor     bigint,
    value_for_ever_minor bigint,
    purchases_for_ever_minor bigint,
    contract_12_minor  bigint,
    contract_24_minor  bigint,
    contract_36_minor  bigint,
    contract_for_ever_minor bigint,
    historic_minor     bigint,
    lower_80_minor     bigint,
    upper_80_minor     bigint,
    lower_90_minor     bigint,
    upper_90_minor     bigint,
    expected_purchases double precision,
    p_alive            double precision,
    grade              "char",
    own_rate           real,
    own_spend          real,
    relative_width     real,
    payback_months     smallint,
    payback_probability double precision,
    frequency          integer,
    recency_days       integer,
    age_days           integer,
    repeat_spend_minor bigint,
    spend_minor        bigint,
    paid_minor         bigint,
    acquisition_cost_minor bigint,
    contracts          bytea,
    primary key (request_id, customer_id),
    check ((reason is null) = (value_minor is not null))
);

-- The newest of a customer.
create index answers_latest on fleet.answers (customer_id, as_of desc, request_id desc);
