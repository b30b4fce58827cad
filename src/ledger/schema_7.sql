-- The books as double entry. Rows are the facts; every posting follows from them, here and, for whoever reads the books in this
-- program, in `postings.rs` (a property holds the two together). An entry is known by (request, attempt, entry), and its lines add
-- up to nothing in each currency. Budget and hold are commitments and come to nothing when a request has ended; conversion carries
-- what is owed in the vendor's currency against what was spent in dollars at the row's dated rate.
DROP VIEW IF EXISTS postings;
CREATE VIEW postings (request, attempt, entry, account, party, currency, pico) AS
WITH lines (place, entry, account) AS (VALUES
    (0, 'hold', 'hold'),
    (1, 'hold', 'budget'),
    (2, 'settlement', 'hold'),
    (3, 'settlement', 'budget'),
    (4, 'settlement', 'spend'),
    (5, 'settlement', 'conversion'),
    (6, 'overage', 'overage'),
    (7, 'overage', 'conversion'),
    (8, 'charge', 'conversion'),
    (9, 'charge', 'payable')
)
SELECT a.request, a.number, lines.entry, lines.account,
    CASE lines.account WHEN 'payable' THEN a.provider WHEN 'conversion' THEN a.currency ELSE r.key END,
    CASE lines.entry WHEN 'charge' THEN a.currency ELSE 'USD' END,
    CASE lines.place
        WHEN 0 THEN a.held_pico_usd
        WHEN 1 THEN -a.held_pico_usd
        WHEN 2 THEN -a.held_pico_usd
        WHEN 3 THEN a.held_pico_usd
        WHEN 4 THEN min(a.cost_pico_usd, a.held_pico_usd)
        WHEN 5 THEN -min(a.cost_pico_usd, a.held_pico_usd)
        WHEN 6 THEN a.cost_pico_usd - a.held_pico_usd
        WHEN 7 THEN a.held_pico_usd - a.cost_pico_usd
        WHEN 8 THEN a.amount_pico
        ELSE -a.amount_pico
    END
FROM attempts a JOIN requests r ON r.id = a.request CROSS JOIN lines
WHERE lines.entry <> 'overage' OR a.cost_pico_usd > a.held_pico_usd;

-- What is left of rows that were pruned (books.row_days): sums by the day on which an attempt began, in days since 1970 (UTC). Written
-- in one transaction with the deletion, so that nothing is there twice or not at all. What free quotas and prepaid balances were
-- drawn on, and what each vendor charged in its own currency, is still known from it; an empty quota is none. Counts and splits are
-- those of usage_daily.
CREATE TABLE IF NOT EXISTS attempts_daily (
    day INTEGER NOT NULL,
    backend TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    currency TEXT NOT NULL,
    quota TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    used INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    fresh_input INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    amount_micro INTEGER NOT NULL,
    amount_rest_pico INTEGER NOT NULL,
    cost_micro_usd INTEGER NOT NULL,
    cost_rest_pico INTEGER NOT NULL,
    PRIMARY KEY (day, backend, model, currency, quota)
) WITHOUT ROWID;
