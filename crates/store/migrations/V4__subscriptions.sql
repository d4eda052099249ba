-- Subscriptions and what it cost to win a customer, and values that tell of both.
--
-- How to upgrade: let open runs finish (or cancel them), migrate, replace the programs, dispatch the next run. This
-- migration refuses to run while a run is open, and afterwards a dispatcher of the release before is refused when it
-- plans: its workers copy nine columns without naming them, which a wider table does not take, and no chunk should
-- die of that. A second parent table would have kept them going, at the price that every reader asks two tables for
-- ever. All else of the release before goes on: it reads the values of its own runs, and those of new ones except
-- where a customer never bought anything.
--
-- A worker of the release before that was left running cannot begin a chunk of a new run: it would count an attempt,
-- fail to read the run's terms, and after a few such losses the chunk would be dead. Its begin is refused as a server
-- that is out of something refuses, for which it knows to wait; nothing of it stays, and it goes on asking until it is
-- replaced. Programs say which release they are of by the setting `ltv.release` of their connections.

lock table fleet.runs in share row exclusive mode;

do $$
begin
    if exists (select from fleet.runs where state in ('planned', 'running')) then
        raise exception 'a run is open, and its workers could not write into the wider tables: let it finish, or cancel it, and migrate again';
    end if;
end
$$;

alter table fleet.runs
    add constraint runs_planned_by_a_program_that_knows_contracts check (terms ? 'contract_margin') not valid;

-- As with the relations of the first migration: where they exist already they are left as they are. Without rows
-- they change nothing.
do $$
begin
    if to_regclass('source.subscriptions') is null then
        create table source.subscriptions (
            customer_id   bigint not null,
            plan          text not null,
            -- Months from one payment to the next; paid in advance, at the start and at each renewal.
            period_months integer not null,
            started_at    timestamptz not null,
            ended_at      timestamptz,
            price_minor   bigint not null,
            currency      char(3) not null,
            -- plan_changed: the customer went on in another plan, whose row begins where this one ends. Any other
            -- reason is the business's own word.
            end_reason    text
        );
        -- What a night reads of them, and nothing else.
        create index subscriptions_history
            on source.subscriptions (customer_id, started_at)
            include (plan, period_months, ended_at, price_minor, currency);
    end if;

    if to_regclass('source.acquisition_costs') is null then
        create table source.acquisition_costs (
            customer_id bigint not null,
            cost_minor  bigint not null,
            currency    char(3) not null,
            primary key (customer_id) include (cost_minor, currency)
        );
    end if;
end
$$;

-- All money is in minor units of the run's currency. `value_minor` stays what it was, the 12 months that customers
-- are ranked by, and contains the contracts from now on. Rows of earlier releases have nulls in the new columns.
--
-- Some columns are null together:
--   frequency, recency_days, age_days, repeat_spend_minor, p_alive: the customer never bought anything;
--   contract_*: nothing is expected from contracts, over 12 months or ever;
--   lower_*, upper_*: the spend's variance is infinite;
--   payback_*: it is not known what it cost to win the customer. `payback_months` alone: not within 36 months.
alter table fleet.values
    alter column p_alive drop not null,
    alter column frequency drop not null,
    alter column recency_days drop not null,
    alter column age_days drop not null,
    alter column repeat_spend_minor drop not null,
    add column value_24_minor bigint,
    add column value_36_minor bigint,
    -- Null where purchases or contracts add up without end.
    add column value_for_ever_minor bigint,
    -- Of that the purchases, told only where contracts alone have no end.
    add column purchases_for_ever_minor bigint,
    add column contract_12_minor bigint,
    add column contract_24_minor bigint,
    add column contract_36_minor bigint,
    -- Null where they add up without end, too.
    add column contract_for_ever_minor bigint,
    add column historic_minor bigint,
    add column lower_80_minor bigint,
    add column upper_80_minor bigint,
    add column lower_90_minor bigint,
    add column upper_90_minor bigint,
    add column spend_minor bigint,
    add column paid_minor bigint,
    add column acquisition_cost_minor bigint,
    add column payback_probability double precision,
    add column own_rate real,
    add column own_spend real,
    add column relative_width real,
    add column payback_months smallint,
    -- A to D, or P where nothing is known but what is known of all.
    add column grade "char",
    -- The contracts that go on, as crates/store/src/contracts.rs writes them; null where there are none.
    add column contracts bytea;

create function fleet.refuse_begin() returns trigger
language plpgsql as $$
begin
    if coalesce(nullif(current_setting('ltv.release', true), ''), '0')::integer < 4 then
        -- Class 53: every release takes it for the server's state, which passes, and no chunk's fault.
        raise exception 'this worker is of a release that cannot read the run: replace it'
            using errcode = 'insufficient_resources',
                  hint = 'the connection''s setting ltv.release has to be 4 or more';
    end if;
    return new;
end
$$;

-- For each row: a worker that has nothing to begin is told so, whatever its release.
create trigger attempts_are_begun_by_programs_that_know_contracts
    before insert on fleet.attempts
    for each row execute function fleet.refuse_begin();
