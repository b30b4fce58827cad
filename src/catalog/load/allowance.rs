//! The tables `[[backends.quotas]]` and `[providers.ID.prepaid]`: what costs nothing, and what is paid already. Too much of
//! it draws traffic as a price does that is too low, so whatever can be read in two ways is a problem.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::price::instant;
use super::required;
use crate::catalog::allowance::{Period, Prepaid, Quota, QuotaIndex};
use crate::document::Section;
use crate::units::{Amount, Counted, Currency, Grant, Usd};

/// More than a vendor gives away; catches a count of another unit.
const MOST_FREE: u64 = 1_000_000_000_000_000;
/// The largest balance that is believed, in whole units of any currency.
const LARGEST_BALANCE: u64 = 1_000_000_000;

/// All quotas of the table, as they are read.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    pub(super) all: Vec<Arc<Quota>>,
}

impl Quotas {
    /// The quotas of a backend, in the order in which they are used.
    pub(super) fn of(&mut self, backend: &Section<'_, '_>, provider: &str, id: &str) -> Vec<QuotaIndex> {
        let mut own = Vec::new();
        for section in backend.sections("quotas") {
            let shared = section.text("shared");
            let place = shared.as_ref().map_or_else(|| id.to_owned(), |shared| format!("{provider}:{shared}"));
            let index = quota(&section, &place).and_then(|quota| self.keep(&section, quota, shared.is_some()));
            if let Some(index) = index {
                if own.contains(&index) {
                    section.problem("shared", "this quota stands twice here", "once for each backend");
                }
                own.push(index);
            }
            section.finish();
        }
        own
    }

    /// A quota that several backends share is one.
    fn keep(&mut self, section: &Section<'_, '_>, quota: Quota, shared: bool) -> Option<QuotaIndex> {
        let Some(known) = self.all.iter().find(|known| known.name == quota.name) else {
            let index = QuotaIndex(u32::try_from(self.all.len()).ok()?);
            self.all.push(Arc::new(Quota { index, ..quota }));
            return Some(index);
        };
        if !shared {
            let wrong = format!("another quota of this backend is per {}", quota.period.word());
            section.problem("per", wrong, "one quota for each period");
            return None;
        }
        let same = known.counts_as(&quota) && (known.grant, known.until) == (quota.grant, quota.until);
        if !same {
            let wrong = format!("{} has other terms at another backend", quota.name);
            section.problem("shared", wrong, "the same per, zone, from, until and amounts wherever a quota is shared");
        }
        Some(known.index)
    }
}

/// `None` only after a problem was noted.
fn quota(section: &Section<'_, '_>, place: &str) -> Option<Quota> {
    let period = required(section, "per", "when the quota begins anew", |s, name| s.word(name, &Period::WORDS));
    let zone = zone(section, period);
    let grant = grant(section);
    let (from, until) = (instant(section, "from"), instant(section, "until"));
    ends_after(section, from, until);
    let source = section.required_text("source", "the document the quota is from, and its date");
    let period = period?;
    let name = format!("{place}/{}", period.word()).into();
    Some(Quota { index: QuotaIndex(0), name, period, zone: zone?, grant, from, until, source: source? })
}

/// A day and a month begin at somebody's midnight, which the table has to say.
fn zone(section: &Section<'_, '_>, period: Option<Period>) -> Option<TimeZone> {
    const ZONE: &str = "an IANA time zone such as Asia/Shanghai, whose midnight the day or month begins at";
    let Some(name) = section.text("zone") else {
        if matches!(period, Some(Period::Day | Period::Month)) && !section.has("zone") {
            section.problem("zone", "missing", ZONE);
        }
        return (!section.has("zone")).then_some(TimeZone::UTC);
    };
    let zone = TimeZone::get(&name).ok();
    if zone.is_none() {
        section.problem("zone", format!("{name:?} is not known"), ZONE);
    }
    zone
}

fn grant(section: &Section<'_, '_>) -> Grant {
    let grant = Grant::by(|counted| section.whole(counted.word(), 1..=MOST_FREE));
    let given = |counted: Counted| section.has(counted.word());
    if !Counted::ALL.into_iter().any(given) {
        section.problem("tokens", "nothing is free", "tokens, requests, input_tokens or output_tokens");
    }
    if given(Counted::Tokens) && (given(Counted::InputTokens) || given(Counted::OutputTokens)) {
        section.problem("tokens", "this counts input and output beside one that counts a side", "tokens, or the sides apart");
    }
    grant
}

fn ends_after(section: &Section<'_, '_>, from: Option<Timestamp>, until: Option<Timestamp>) {
    if let (Some(from), Some(until)) = (from, until)
        && until <= from
    {
        section.problem("until", "it ends before it begins", format!("an instant after {from}"));
    }
}

/// What is paid in advance; `None` only after a problem was noted.
pub(super) fn prepaid(section: Section<'_, '_>, currency: Currency) -> Option<Prepaid> {
    const AMOUNT: &str = "whole units of the provider's currency, above zero";
    const FROM: &str = "from which instant on the vendor charges against it";
    let amount = required(&section, "amount", AMOUNT, Section::decimal).and_then(|text| {
        let most = i128::from(LARGEST_BALANCE) * 1_000_000_000_000;
        let pico = Usd::parse(&text).ok().map(Usd::pico).filter(|pico| (1..=most).contains(pico));
        if pico.is_none() {
            section.problem("amount", format!("{text} is no balance"), format!("{AMOUNT} and at most {LARGEST_BALANCE}"));
        }
        pico.map(|pico| Amount::from_pico(pico, currency))
    });
    let from = required(&section, "from", FROM, instant);
    let until = instant(&section, "until");
    ends_after(&section, from, until);
    let source = section.required_text("source", "where the balance is told, and when it was read");
    section.finish();
    Some(Prepaid { amount: amount?, from: from?, until, source: source? })
}

#[cfg(test)]
mod tests {
    use crate::catalog::Snapshot;
    use crate::units::Counted;

    /// One provider with two backends; each with what is added to it.
    fn table(prepaid: &str, quotas: [&str; 2]) -> String {
        let provider = "schema = 1\nversion = \"t\"\n[providers.p]\nname = \"P\"\nbase_url = \"https://p.example/v1\"\n\
            dialect = \"openai-chat\"\napi_key_env = \"P_KEY\"\nowner = \"P\"\njurisdiction = \"US\"\nregion = \"US\"\n\
            currency = \"USD\"\nsource = \"test\"\n";
        let backend = |(model, quotas): (&str, &str)| {
            format!(
                "[[backends]]\nprovider = \"p\"\nmodel = \"{model}\"\ncontext_tokens = 8000\nmax_output_tokens = 4000\n\
                 features = []\nreasoning = \"never\"\nlanguages = [\"*\"]\ntokenizer = \"o200k\"\n\
                 [[backends.prices]]\ninput = 1\noutput = 2\nsource = \"test\"\n{quotas}\n"
            )
        };
        let prepaid = if prepaid.is_empty() { String::new() } else { format!("[providers.p.prepaid]\n{prepaid}\n") };
        format!("{provider}{prepaid}{}{}", backend(("a", quotas[0])), backend(("b", quotas[1])))
    }

    fn quota(members: &str) -> String {
        format!("[[backends.quotas]]\nsource = \"test\"\n{members}\n")
    }

    /// Each problem by its beginning after file, line and column.
    fn check(prepaid: &str, quotas: [&str; 2], expected: &[&str]) {
        let found = Snapshot::parse("t.toml", &table(prepaid, quotas)).err().unwrap_or_default();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        let tails: Vec<&str> = found.iter().map(|p| p.splitn(4, ':').nth(3).unwrap_or_default().trim_start()).collect();
        let fits = tails.len() == expected.len() && tails.iter().zip(expected).all(|(tail, start)| tail.starts_with(start));
        assert!(fits, "expected {expected:#?}, found {tails:#?}");
    }

    #[test]
    fn quotas_are_named_by_their_backend_or_by_what_they_share() {
        let shared = quota("per = \"day\"\nzone = \"Asia/Shanghai\"\nshared = \"account\"\nrequests = 2000");
        let own = quota("per = \"ever\"\nuntil = 2027-01-01T00:00:00Z\ntokens = 1_000_000");
        let table = Snapshot::parse("t", &table("", [&(own + &shared), &shared])).unwrap();
        let names: Vec<&str> = table.quotas.iter().map(|quota| &*quota.name).collect();
        assert_eq!(names, ["p/a/ever", "p:account/day"]);
        let of = |id| table.quotas_of(table.backend_named(id).unwrap()).map(|quota| &*quota.name).collect::<Vec<_>>();
        assert_eq!((of("p/a"), of("p/b")), (names.clone(), vec!["p:account/day"]));
        assert_eq!(table.quotas[1].grant.of(Counted::Requests), Some(2000));
        assert_eq!(table.quotas[1].grant.of(Counted::Tokens), None);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_a_problem() {
        let one = |members: &str, expected: &[&str]| check("", [&quota(members), ""], expected);
        one("per = \"day\"\ntokens = 5", &["backends[0].quotas[0].zone: missing"]);
        one("per = \"day\"\nzone = \"China\"\ntokens = 5", &["backends[0].quotas[0].zone: \"China\" is not known"]);
        one("per = \"minute\"", &["backends[0].quotas[0].tokens: nothing is free"]);
        one("per = \"minute\"\ntokens = 0", &["backends[0].quotas[0].tokens: "]);
        one("per = \"minute\"\ntokens = 5\ninput_tokens = 5", &["backends[0].quotas[0].tokens: this counts input and output"]);
        one("per = \"week\"\ntokens = 5", &["backends[0].quotas[0].per: "]);
        one("tokens = 5", &["backends[0].quotas[0].per: missing"]);
        let ends = "per = \"ever\"\ntokens = 5\nfrom = 2026-11-02T00:00:00Z\nuntil = 2026-11-02T00:00:00Z";
        one(ends, &["backends[0].quotas[0].until: it ends before it begins"]);
        let twice = quota("per = \"minute\"\ntokens = 5") + &quota("per = \"minute\"\nrequests = 5");
        check("", [&twice, ""], &["backends[0].quotas[1].per: another quota of this backend is per minute"]);
        let shared = |n: u8| quota(&format!("per = \"minute\"\nshared = \"s\"\ntokens = {n}"));
        check("", [&shared(5), &shared(6)], &["backends[1].quotas[0].shared: p:s/minute has other terms"]);
        check("", [&(shared(5) + &shared(5)), ""], &["backends[0].quotas[1].shared: this quota stands twice here"]);
    }

    /// The head of the shipped table shows an operator how to write both; below its last backend they are of that one.
    #[test]
    fn what_the_shipped_table_shows_can_be_written_so() {
        let shipped = include_str!("../../../providers.toml");
        let head = shipped.split_once("\n\n").unwrap().0;
        let shown =
            head.lines().skip_while(|line| !line.contains("[[backends.quotas]]")).map_while(|line| line.strip_prefix("#     "));
        let written = format!("{shipped}\n{}\n", shown.collect::<Vec<_>>().join("\n"));
        let table = Snapshot::parse("t", &written).unwrap();
        let quotas: Vec<&str> = table.quotas.iter().map(|quota| quota.name.rsplit_once(':').unwrap().1).collect();
        assert_eq!(quotas, ["trial/day"]);
        let balances: Vec<_> = table.providers().iter().filter_map(|provider| provider.prepaid.as_ref()).collect();
        assert!(balances.len() == 1 && balances[0].until.is_some(), "{balances:?}");
    }

    #[test]
    fn a_balance_has_an_amount_and_a_beginning() {
        let fine = "amount = 500.0\nfrom = 2026-11-01T00:00:00Z\nuntil = 2027-01-01T00:00:00Z\nsource = \"test\"";
        check(fine, ["", ""], &[]);
        check(&fine.replace("500.0", "0"), ["", ""], &["providers.p.prepaid.amount: 0 is no balance"]);
        check(&fine.replace("amount = 500.0", ""), ["", ""], &["providers.p.prepaid.amount: missing"]);
        check(&fine.replace("2027", "2025"), ["", ""], &["providers.p.prepaid.until: it ends before it begins"]);
        check(&fine.replace("from = 2026-11-01T00:00:00Z", ""), ["", ""], &["providers.p.prepaid.from: missing"]);
    }
}
