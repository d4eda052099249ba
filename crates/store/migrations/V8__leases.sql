-- When a lease was given, beside when it ends: one that was given later than now was given before the clock was set back,
-- however long it is.
--
-- How to upgrade: migrate, then replace the programs, in any order. Programs of the release before neither read nor write
-- it: of their leases it is not known when they were given, and one of those that lasts more than two of the coordinator's
-- is taken for one from before the clock was set back, as it always was. Give workers and coordinators the same `--lease`
-- until all are replaced.

alter table fleet.chunks add column leased_at timestamptz;
