-- What a decision was made from. Apart from the rows that are kept for good, because it is kept for some days only: ids
-- sort by time, so what is too old is a range.
CREATE TABLE decisions (request BLOB PRIMARY KEY, facts BLOB NOT NULL) WITHOUT ROWID;

-- The newest request of each version of the price table whose facts are kept: a version that none needs can go.
CREATE TABLE tables_used (version TEXT PRIMARY KEY, last_request BLOB NOT NULL) WITHOUT ROWID;

-- Sums for reports, written in one transaction with the rows they sum up. The day is that of the request's arrival, in
-- days since 1970 (UTC). An attempt counts where it was made; its request counts, with its baseline, at the attempt that
-- answered (the last complete one, else the last), and with an empty backend where none was made. Amounts are split into
-- millionths of a dollar and the rest in 10^-12 dollars, and no row counts for more than 10^12 tokens of a kind (the rows of
-- the first version hold whatever a provider reported), so that no sum overflows.
CREATE TABLE usage_daily (
    key TEXT NOT NULL,
    day INTEGER NOT NULL,
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
    PRIMARY KEY (key, day, backend, model)
) WITHOUT ROWID;

INSERT INTO usage_daily
SELECT key, day, backend, model, max(provider), sum(requests), sum(attempts), sum(fresh_input), sum(cache_read),
    sum(cache_write), sum(output), sum(reasoning), sum(cost / 1000000), sum(cost % 1000000), sum(baseline IS NOT NULL),
    coalesce(sum(baseline / 1000000), 0), coalesce(sum(baseline % 1000000), 0), sum(provenance = 'reported'),
    sum(provenance = 'counted'), sum(provenance = 'estimated')
FROM (
    SELECT r.key, r.arrived_at_us / 86400000000 AS day, a.backend, a.model, a.provider, 0 AS requests, 1 AS attempts,
        min(a.fresh_input, 1000000000000) AS fresh_input, min(a.cache_read, 1000000000000) AS cache_read,
        min(a.cache_write, 1000000000000) AS cache_write, min(a.output, 1000000000000) AS output,
        min(a.reasoning, 1000000000000) AS reasoning, a.cost_pico_usd AS cost, NULL AS baseline, a.provenance
    FROM requests r JOIN attempts a ON a.request = r.id
    UNION ALL
    SELECT r.key, r.arrived_at_us / 86400000000, coalesce(a.backend, ''), coalesce(a.model, ''), coalesce(a.provider, ''),
        1, 0, 0, 0, 0, 0, 0, 0, r.baseline_pico_usd, ''
    FROM requests r LEFT JOIN attempts a ON a.request = r.id AND a.number = (
        SELECT number FROM attempts WHERE request = r.id ORDER BY ending = 'complete' DESC, number DESC LIMIT 1
    )
)
GROUP BY key, day, backend, model;
