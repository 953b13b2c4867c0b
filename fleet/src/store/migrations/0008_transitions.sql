-- Transitions of rollouts that programs follow, and deliveries about them.
ALTER TABLE rollout_event ADD COLUMN wave INTEGER;              -- of which wave; NULL: of the rollout
CREATE INDEX rollout_event_of ON rollout_event (rollout, id);
ALTER TABLE delivery ADD COLUMN rollout TEXT;                   -- about which rollout
CREATE INDEX delivery_of_rollout ON delivery (rollout, receiver, state);
-- The last line of any rollout's log that receivers were told of; older ones are nobody's news.
INSERT INTO meta (key, value) SELECT 'rollouts_told', coalesce(max(id), 0) FROM rollout_event;
