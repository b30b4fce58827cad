-- Whose team and project a request's key was of when it came ('' of none; absent in rows of before), and the tags of key and
-- request with commas between them.
ALTER TABLE requests ADD COLUMN team TEXT;
ALTER TABLE requests ADD COLUMN project TEXT;
ALTER TABLE requests ADD COLUMN tags TEXT NOT NULL DEFAULT '';

-- The sums of usage_daily once more for each mark of a request: its team, its project, each of its tags. What has no mark of a
-- kind has no line of it, and what has several tags counts at each. A key has lines of so many tags a day, and of the rest
-- together (see rollup.rs), so that clients cannot make it grow without end.
CREATE TABLE usage_marked (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    day INTEGER NOT NULL,
    name TEXT NOT NULL,
    backend TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    requests INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fresh_input INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    cost_micro_usd INTEGER NOT NULL,
    cost_rest_pico INTEGER NOT NULL,
    compared INTEGER NOT NULL,
    baseline_micro_usd INTEGER NOT NULL,
    baseline_rest_pico INTEGER NOT NULL,
    reported INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    model_changes INTEGER NOT NULL,
    PRIMARY KEY (kind, key, day, name, backend, model)
) WITHOUT ROWID;
