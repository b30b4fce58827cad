-- What an attempt was billed for by the piece (searches, images, ..., by what its backend serves), and at what price for how many.
ALTER TABLE attempts ADD COLUMN pieces INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN piece_price_pico INTEGER;
ALTER TABLE attempts ADD COLUMN piece_price_per INTEGER;
