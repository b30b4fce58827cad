//! The books as double entry. Rows are the facts and stay as they are; what each means for the accounts follows from it by this
//! one function, and equally by the view `postings` of the store (`schema_7.sql`), so nothing is written twice and the two sides
//! of an entry cannot come apart.
//!
//! Four entries an attempt, each known by (our request's id, the attempt's number, the entry): the *hold* moves money from what
//! a key may still spend to what is set aside for it; the *settlement* ends that hold, one for each, and books what it bore; the
//! *overage* is what a vendor charged beyond the hold; the *charge* is what the vendor is owed, in its own currency. The account
//! of conversion stands between the two currencies: what is in it came in at the row's dated rate.
//!
//! This says what the rows mean. Whether they are right among themselves (a rate that was not kept to, a sum that is off) is for
//! `check`.

use super::booked::BookedAttempt;
use super::entry::words;
use crate::units::{Currency, RequestId};

words! {
    /// What happened to the accounts.
    Entry {
        /// Money was set aside before an attempt was sent.
        Hold = "hold",
        /// The hold ended, and what it bore is spent.
        Settlement = "settlement",
        /// More was charged than was held.
        Overage = "overage",
        /// The vendor is owed what it charges.
        Charge = "charge",
    }
}

words! {
    /// Whose balance a posting changes; with the party it names one account.
    Account {
        /// What the key may still spend; minus what is set aside.
        Budget = "budget",
        /// What is set aside for the key.
        Hold = "hold",
        /// What the key spent within its holds.
        Spend = "spend",
        /// What it spent beyond them.
        Overage = "overage",
        /// What passed between dollars and the currency that is the party.
        Conversion = "conversion",
        /// What the provider is owed, in its own currency; below zero, as a debt is.
        Payable = "payable",
    }
}

/// One line of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting<'r> {
    pub request: RequestId,
    pub attempt: u32,
    pub entry: Entry,
    pub account: Account,
    /// The key, the provider or the currency that the account is of.
    pub party: &'r str,
    /// The code of the currency of the amount.
    pub currency: &'r str,
    /// 10⁻¹² units of it.
    pub pico: i128,
}

/// What of a closed attempt its postings follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled<'r> {
    pub request: RequestId,
    pub attempt: u32,
    /// The gateway key that asked.
    pub key: &'r str,
    pub provider: &'r str,
    /// The code of the currency that the vendor bills in.
    pub currency: &'r str,
    /// In 10⁻¹² dollars, as `cost`.
    pub held: i64,
    pub cost: i64,
    /// In 10⁻¹² units of the vendor's currency.
    pub amount: i64,
}

impl<'r> Settled<'r> {
    /// Of an attempt as the books have it.
    pub fn of(request: RequestId, key: &'r str, attempt: &'r BookedAttempt) -> Self {
        let dollars = |usd: crate::units::Usd| super::sqlite::fitting(usd.pico());
        Self {
            request,
            attempt: attempt.number,
            key,
            provider: &attempt.provider,
            currency: &attempt.currency,
            held: dollars(attempt.held),
            cost: dollars(attempt.cost),
            amount: attempt.amount_pico,
        }
    }

    /// Every posting of the attempt, entry by entry.
    pub fn postings(&self) -> Vec<Posting<'r>> {
        let Self { key, provider, currency, .. } = *self;
        let (held, cost, amount) = (i128::from(self.held), i128::from(self.cost), i128::from(self.amount));
        let (within, dollars) = (cost.min(held), Currency::Usd.code());
        let line = |entry, account, party, currency, pico| Posting {
            request: self.request,
            attempt: self.attempt,
            entry,
            account,
            party,
            currency,
            pico,
        };
        let mut lines = vec![
            line(Entry::Hold, Account::Hold, key, dollars, held),
            line(Entry::Hold, Account::Budget, key, dollars, -held),
            line(Entry::Settlement, Account::Hold, key, dollars, -held),
            line(Entry::Settlement, Account::Budget, key, dollars, held),
            line(Entry::Settlement, Account::Spend, key, dollars, within),
            line(Entry::Settlement, Account::Conversion, currency, dollars, -within),
        ];
        if cost > held {
            lines.push(line(Entry::Overage, Account::Overage, key, dollars, cost - held));
            lines.push(line(Entry::Overage, Account::Conversion, currency, dollars, held - cost));
        }
        lines.push(line(Entry::Charge, Account::Conversion, currency, currency, amount));
        lines.push(line(Entry::Charge, Account::Payable, provider, currency, -amount));
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_end, request_opened};
    use crate::ledger::sqlite::SqliteStore;
    use crate::ledger::store::Store;
    use crate::ledger::{Books, ClosedAttempt, ClosedRequest, Ending};
    use crate::units::{ExchangeRate, Pricing, Tariff, TokenPrice, Usd};

    /// Held, output tokens, how it ended, whether the vendor bills in dollars.
    type Drawn = (u64, u64, usize, bool);

    fn request(number: u64, drawn: &[Drawn]) -> ClosedRequest {
        let attempt = |(number, (held, output, ending, dollars)): (u32, &Drawn)| {
            let mut opened = attempt_opened();
            opened.held = Usd::from_pico(i128::from(*held));
            if *dollars {
                let tariff = Tariff::flat(Currency::Usd, TokenPrice::from_pico(3), TokenPrice::from_pico(7));
                let pricing = Pricing::flat("p", tariff);
                opened.terms = crate::ledger::Terms::new(pricing, ExchangeRate::USD, "2026-11-20").unwrap();
                opened.provider = "dollar".into();
            }
            let mut end = attempt_end(*output / 2, *output);
            end.ending = Ending::ALL[*ending];
            Arc::new(ClosedAttempt::settle(number, opened, end))
        };
        let opened = Arc::new(request_opened(number));
        ClosedRequest { opened, end: request_end(), attempts: (0..).zip(drawn).map(attempt).collect() }
    }

    fn told(line: &Posting<'_>) -> String {
        let Posting { request, attempt, entry, account, party, currency, pico } = line;
        format!("{request} {attempt} {} {} {party} {currency} {pico}", entry.word(), account.word())
    }

    fn from_view(store: &SqliteStore) -> Vec<String> {
        let sql = "SELECT request, attempt, entry, account, party, currency, pico FROM postings";
        let mut statement = store.connection().prepare(sql).unwrap();
        let text = |row: &rusqlite::Row<'_>, at: usize| row.get::<_, String>(at).unwrap();
        let rows = statement.query_map([], |row| {
            let (request, attempt): (_, u32) = (RequestId::from_bytes(row.get(0)?), row.get(1)?);
            let pico: i64 = row.get(6)?;
            Ok(format!("{request} {attempt} {} {} {} {} {pico}", text(row, 2), text(row, 3), text(row, 4), text(row, 5)))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// The function over what is read back and the view over the rows say the same; every entry adds up to nothing in each
        /// currency; each attempt has one hold and one settlement; and nothing stays set aside.
        #[test]
        fn function_and_view_agree_and_every_entry_balances(
            drawn in prop::collection::vec(prop::collection::vec(
                (0_u64..20_000_000_000, 0_u64..9_000_000, 0..Ending::ALL.len(), any::<bool>()), 0..4), 1..8),
        ) {
            let requests: Vec<_> = (1..).zip(&drawn).map(|(number, tried)| request(number, tried)).collect();
            let folder = tempfile::tempdir().unwrap();
            let mut store = SqliteStore::open(folder.path()).unwrap();
            store.insert(&mut requests.iter()).unwrap();
            let books = Books::open(folder.path()).unwrap();
            let (mut lines, mut sums, mut balance) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
            for request in &requests {
                let booked = books.request(request.opened.id).unwrap().unwrap();
                for attempt in &booked.attempts {
                    let (key, mut entries) = (booked.key.as_str(), BTreeMap::new());
                    for line in Settled::of(booked.id, key, attempt).postings() {
                        lines.push(told(&line));
                        *sums.entry((line.request, line.attempt, line.entry, line.currency.to_owned())).or_insert(0) += line.pico;
                        *balance.entry((line.account, line.currency.to_owned())).or_insert(0) += line.pico;
                        *entries.entry(line.entry).or_insert(0) += 1;
                    }
                    prop_assert_eq!((entries[&Entry::Hold], entries[&Entry::Settlement], entries[&Entry::Charge]), (2, 4, 2));
                }
            }
            let mut viewed = from_view(&store);
            viewed.sort_unstable();
            lines.sort_unstable();
            prop_assert_eq!(viewed, lines);
            prop_assert!(sums.values().all(|sum| *sum == 0), "{sums:?}");
            let of = |account| balance.get(&(account, "USD".to_owned())).copied().unwrap_or(0);
            prop_assert_eq!((of(Account::Hold), of(Account::Budget)), (0, 0));
            prop_assert_eq!(of(Account::Spend) + of(Account::Overage), books.attempts_cost().unwrap().pico());
        }
    }
}
