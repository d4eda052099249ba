-- Keys of calls that may be made again, and whose effect happens once. What came of a call is written down in the
-- transaction that did it.

create sequence fleet.claims;

create table fleet.idempotency (
    -- Who called, and what makes a repeat the same call.
    principal     text not null,
    key           text not null check (length(key) between 1 and 255),
    -- Tells what was called, so that a key is not used for something else.
    fingerprint   bytea not null,
    -- Who is at work for it: the fencing token, never issued twice, and the lease.
    claim         bigint not null default nextval('fleet.claims'),
    claimed_until timestamptz not null,
    -- What came of it; null while somebody is at work.
    effect        jsonb,
    made_at       timestamptz not null default now(),
    primary key (principal, key)
);

-- What is old is forgotten.
create index idempotency_age on fleet.idempotency (made_at);
