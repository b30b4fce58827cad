-- The model that a backend had named before, where an answer names another: it was changed without a word.
ALTER TABLE attempts ADD COLUMN served_before TEXT;
-- How many attempts have such a mark.
ALTER TABLE usage_daily ADD COLUMN model_changes INTEGER NOT NULL DEFAULT 0;
