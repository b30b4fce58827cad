-- Since prices depend on hour, length and thinking: which row of the price book an attempt was billed by, and prices of the
-- kinds of token that are parts of another kind. Rows of before have no such parts, and each part cost what its whole did.
ALTER TABLE attempts ADD COLUMN price TEXT NOT NULL DEFAULT '';
-- 0 where the vendor lists no price for such a request and the dearest was charged.
ALTER TABLE attempts ADD COLUMN price_listed INTEGER NOT NULL DEFAULT 1;
-- Parts: of cache_write, of fresh_input (two), of output.
ALTER TABLE attempts ADD COLUMN cache_write_long INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN image_input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN audio_input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN audio_output INTEGER NOT NULL DEFAULT 0;
-- Absent where the part costs what its whole costs.
ALTER TABLE attempts ADD COLUMN cache_write_long_price_pico INTEGER;
ALTER TABLE attempts ADD COLUMN reasoning_price_pico INTEGER;
ALTER TABLE attempts ADD COLUMN image_input_price_pico INTEGER;
ALTER TABLE attempts ADD COLUMN audio_input_price_pico INTEGER;
ALTER TABLE attempts ADD COLUMN audio_output_price_pico INTEGER;
-- The free quota that bore the attempt or a part of it, and what it spared of the amount in the row's currency.
ALTER TABLE attempts ADD COLUMN quota TEXT;
ALTER TABLE attempts ADD COLUMN spared_pico INTEGER NOT NULL DEFAULT 0;
