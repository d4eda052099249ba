-- When a request's lease was given, beside when it ends: one that was given later than now was given before the clock was set
-- back. Of one of which it is not known it is believed, as it always was.

alter table fleet.requests add column leased_at timestamptz;
