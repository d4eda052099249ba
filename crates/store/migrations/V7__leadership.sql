-- When the leadership was last taken or renewed. One that was renewed at a moment which has not come yet was renewed before
-- the clock was set back, and its lease is believed by nobody who only asks who leads: how long it was given for is not
-- known to them. Null, or older than the lease says, where a coordinator of the release before leads; that one is believed.

alter table fleet.leadership add column renewed_at timestamptz;
