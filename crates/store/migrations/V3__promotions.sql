-- Which model version a run pins that names none: a history that is only ever added to. The last row is in force;
-- while there is none, the latest model version is. A program of the release before pins the latest, and stores
-- model versions without a promotion.

create table fleet.promotions (
    promotion     bigint generated always as identity primary key,
    -- Not now(): a transaction that waited for the lock began before the row in front of it.
    promoted_at   timestamptz not null default clock_timestamp(),
    model_version bigint not null references fleet.model_versions,
    kind          text not null check (kind in ('promote', 'roll_back')),
    promoted_by   text not null,
    reason        text,
    -- The promotion that a roll-back from this one returns to. A roll-back takes that of the row it returns to,
    -- so that the next one goes further back.
    rolls_back_to bigint references fleet.promotions
);

-- What runs have pinned so far is what there is to roll back to.
insert into fleet.promotions (promoted_at, model_version, kind, promoted_by, reason)
select created_at, model_version, 'promote', 'ltv migrate', 'it was the latest'
  from fleet.model_versions
 order by model_version desc
 limit 1;

create function fleet.refuse_change() returns trigger
language plpgsql as $$
begin
    raise exception '% of fleet.% is refused: its rows are immutable', lower(tg_op), tg_table_name
        using errcode = 'restrict_violation';
end
$$;

create trigger model_versions_are_immutable
    before update or delete or truncate on fleet.model_versions
    for each statement execute function fleet.refuse_change();

create trigger promotions_are_immutable
    before update or delete or truncate on fleet.promotions
    for each statement execute function fleet.refuse_change();
