//! The prices of an attempt as bytes. Up to the second version that was one tariff of four prices.

use std::sync::Arc;

use super::{Malformed, Reader, WITH_CHANGES, WITH_PIECES, WITH_SHEETS, Wire};
use crate::ledger::entry::AttemptEnd;
use crate::units::{
    BilledAt, Bounds, Cell, Currency, Extent, Free, FreePart, FreeTokens, PiecePrice, Pricing, Sheet, Span, Tariff, TokenPrice,
};

impl Wire for Tariff {
    fn put(&self, out: &mut Vec<u8>) {
        self.currency.put(out);
        for price in [self.input, self.cache_read, self.cache_write, self.output] {
            price.put(out);
        }
        for price in [self.cache_write_long, self.reasoning, self.image_input, self.audio_input, self.audio_output] {
            price.put(out);
        }
        self.pieces.pico().put(out);
        self.pieces.per().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let currency = Currency::take(from)?;
        let mut price = || TokenPrice::take(from);
        let (input, cache_read, cache_write, output) = (price()?, price()?, price()?, price()?);
        let flat = Self { cache_read, cache_write, cache_write_long: cache_write, ..Self::flat(currency, input, output) };
        if from.version < WITH_SHEETS {
            return Ok(flat);
        }
        let mut price = || TokenPrice::take(from);
        let tokens = Self {
            cache_write_long: price()?,
            reasoning: price()?,
            image_input: price()?,
            audio_input: price()?,
            audio_output: price()?,
            ..flat
        };
        if from.version < WITH_PIECES {
            return Ok(tokens);
        }
        let pieces = PiecePrice::new(Wire::take(from)?, Wire::take(from)?).ok_or(Malformed)?;
        Ok(Self { pieces, ..tokens })
    }
}

/// Any number of values.
fn put_all<T: Wire>(values: &[T], out: &mut Vec<u8>) {
    (values.len() as u64).put(out);
    for value in values {
        value.put(out);
    }
}

fn take_all<T: Wire>(from: &mut Reader<'_>) -> Result<Vec<T>, Malformed> {
    let count = u64::take(from)?;
    // Every value takes a byte at least, so a count beyond the bytes that are left is none.
    if count > from.rest.len() as u64 {
        return Err(Malformed);
    }
    (0..count).map(|_| T::take(from)).collect()
}

impl Wire for Arc<Sheet> {
    fn put(&self, out: &mut Vec<u8>) {
        put_all(self.cells(), out);
        (self.extent() == Extent::Part).put(out);
        self.per_request().put(out);
        self.minimum().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let cells = take_all(from)?;
        let extent = if bool::take(from)? { Extent::Part } else { Extent::Whole };
        Sheet::new(cells, extent, Wire::take(from)?, Wire::take(from)?).map(Arc::new).ok_or(Malformed)
    }
}

impl Wire for Pricing {
    fn put(&self, out: &mut Vec<u8>) {
        (self.billed_at() == BilledAt::Completion).put(out);
        put_all(self.spans(), out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.version < WITH_SHEETS {
            return Ok(Pricing::flat("", Tariff::take(from)?));
        }
        let billed_at = if bool::take(from)? { BilledAt::Completion } else { BilledAt::Arrival };
        Pricing::new(billed_at, take_all(from)?).ok_or(Malformed)
    }
}

impl Wire for Bounds {
    fn put(&self, out: &mut Vec<u8>) {
        self.above.put(out);
        // Most have no end, which would take ten bytes.
        (self.to != u64::MAX).then_some(self.to).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { above: u64::take(from)?, to: <Option<u64> as Wire>::take(from)?.unwrap_or(u64::MAX) })
    }
}

impl Wire for Cell {
    fn put(&self, out: &mut Vec<u8>) {
        self.input.put(out);
        self.output.put(out);
        self.thinking.put(out);
        self.tariff.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { input: Wire::take(from)?, output: Wire::take(from)?, thinking: Wire::take(from)?, tariff: Wire::take(from)? })
    }
}

impl Wire for Span {
    fn put(&self, out: &mut Vec<u8>) {
        self.until.put(out);
        self.price.put(out);
        self.sheet.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { until: Wire::take(from)?, price: Wire::take(from)?, sheet: Wire::take(from)? })
    }
}

impl Wire for FreePart {
    fn put(&self, out: &mut Vec<u8>) {
        let tokens = match self {
            FreePart::Whole => None,
            FreePart::Tokens(tokens) => Some(*tokens),
        };
        tokens.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(<Option<FreeTokens> as Wire>::take(from)?.map_or(FreePart::Whole, FreePart::Tokens))
    }
}

impl Wire for FreeTokens {
    fn put(&self, out: &mut Vec<u8>) {
        for tokens in [self.any, self.input, self.output] {
            tokens.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { any: Wire::take(from)?, input: Wire::take(from)?, output: Wire::take(from)? })
    }
}

impl Wire for Free {
    fn put(&self, out: &mut Vec<u8>) {
        self.quota.put(out);
        self.part.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { quota: Wire::take(from)?, part: Wire::take(from)? })
    }
}

impl Wire for AttemptEnd {
    fn put(&self, out: &mut Vec<u8>) {
        self.ending.put(out);
        self.usage.put(out);
        self.provenance.put(out);
        self.served_model.put(out);
        self.http_status.put(out);
        self.cause.put(out);
        self.first_byte_ms.put(out);
        self.duration_ms.put(out);
        self.free.put(out);
        self.served_before.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            ending: Wire::take(from)?,
            usage: Wire::take(from)?,
            provenance: Wire::take(from)?,
            served_model: Wire::take(from)?,
            http_status: Wire::take(from)?,
            cause: Wire::take(from)?,
            first_byte_ms: Wire::take(from)?,
            duration_ms: Wire::take(from)?,
            free: if from.version < WITH_SHEETS { None } else { Wire::take(from)? },
            served_before: if from.version < WITH_CHANGES { None } else { Wire::take(from)? },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, payload};
    use super::super::{ATTEMPT_OPENED, Record, frame, put_attempt_ended, put_attempt_opened, read_payload};
    use super::*;
    use crate::ledger::entry::{AttemptOpened, Terms};
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_id};
    use crate::units::{ExchangeRate, Pieces, Thinking, Tokens};

    #[test]
    fn everything_that_an_attempt_may_be_billed_at_reads_back() {
        let price = |text| TokenPrice::per_million(text).unwrap();
        let tariff =
            Tariff { reasoning: price("9"), image_input: price("0.5"), ..Tariff::flat(Currency::Cny, price("1"), price("8")) };
        let short = Cell { output: Bounds { above: 0, to: 200 }, thinking: Some(false), ..Cell::any(tariff) };
        let long = Cell { input: Bounds { above: 32_000, to: 128_000 }, ..Cell::any(tariff) };
        let mut long = long;
        long.tariff.pieces = PiecePrice::new(2_000_000_000_000, 1_000).unwrap();
        let sheet = Arc::new(Sheet::new(vec![short, long], Extent::Part, 7, 9).unwrap());
        let until = Some(attempt_opened().started_at);
        let span = |until, price: &str| Span { until, price: price.into(), sheet: Arc::clone(&sheet) };
        let pricing = Pricing::new(BilledAt::Completion, vec![span(until, "peak"), span(None, "list")]).unwrap();
        let rate = ExchangeRate::parse(Currency::Cny, "7.1").unwrap();
        let terms = Terms::new(pricing, rate, "2026-11-20").unwrap();
        let pieces = Pieces { expected: 2, most: 300 };
        let attempt = AttemptOpened { terms, thinking: Thinking::Off, pieces, ..attempt_opened() };
        let expected = Record::AttemptOpened { number: 3, opened: Box::new(attempt.clone()) };
        check(|out| put_attempt_opened(out, request_id(7), 3, &attempt), expected);
    }

    /// Where the usage ends in an attempt's end that says nothing of what was free or changed its name.
    fn usage_ends(payload: &[u8], end: &AttemptEnd) -> usize {
        let behind = [end.provenance.word().len() + 1, 1 + 1 + 6, 1 + 2, 1, 1 + 1, 1];
        payload.len() - 2 - behind.iter().sum::<usize>()
    }

    #[test]
    fn what_was_free_reads_back_and_the_second_version_knew_nothing_of_it() {
        let parts = [FreePart::Whole, FreePart::Tokens(FreeTokens { any: Tokens::new(70_000), ..FreeTokens::default() })];
        for part in parts {
            let end = AttemptEnd { free: Some(Free { quota: "acme/fast/day".into(), part }), ..attempt_end(300, 70_000) };
            check(|out| put_attempt_ended(out, request_id(7), 1, &end), Record::AttemptEnded { number: 1, end: end.clone() });
        }
        let end = attempt_end(300, 70_000);
        let mut old = payload(|out| put_attempt_ended(out, request_id(7), 1, &end));
        // The second version's tokens had no parts, and there were no pieces; those of this end are none, a byte each.
        let parts_of_tokens = 5;
        let usage = usage_ends(&old, &end);
        old.drain(usage - parts_of_tokens..usage);
        old.truncate(old.len() - 2);
        assert_eq!(read_payload(&old, 2), Ok((request_id(7), Record::AttemptEnded { number: 1, end })));
    }

    #[test]
    fn a_changed_name_reads_back_and_the_third_version_knew_nothing_of_it() {
        let changed = AttemptEnd { served_before: Some("fast-0".into()), ..attempt_end(300, 70_000) };
        check(|out| put_attempt_ended(out, request_id(7), 1, &changed), Record::AttemptEnded { number: 1, end: changed.clone() });
        let end = attempt_end(300, 70_000);
        let mut old = payload(|out| put_attempt_ended(out, request_id(7), 1, &end));
        old.remove(usage_ends(&old, &end) - 1);
        let fourth = old.clone();
        old.pop();
        assert_eq!(read_payload(&old, 3), Ok((request_id(7), Record::AttemptEnded { number: 1, end })));
        assert_eq!(read_payload(&old, 4), Err(Malformed));
        assert_eq!(
            read_payload(&fourth, 4).map(|(_, record)| record),
            Ok(Record::AttemptEnded { number: 1, end: attempt_end(300, 70_000) })
        );
        assert_eq!(read_payload(&fourth, 5), Err(Malformed), "before the fifth there were no pieces");
    }

    #[test]
    fn an_attempt_of_the_second_version_has_one_tariff() {
        let opened = attempt_opened();
        let tariff = opened.terms.pricing().spans()[0].sheet.cells()[0].tariff;
        let old = payload(|out| {
            frame(out, ATTEMPT_OPENED, request_id(7), |out| {
                3_u32.put(out);
                opened.backend.put(out);
                opened.provider.put(out);
                opened.model.put(out);
                tariff.currency.put(out);
                for price in [tariff.input, tariff.cache_read, tariff.cache_write, tariff.output] {
                    price.put(out);
                }
                opened.terms.exchange_rate().put(out);
                opened.terms.rate_date().to_owned().put(out);
                opened.quoted.put(out);
                opened.held.put(out);
                for tokens in [opened.input_estimate, opened.input_upper, opened.expected_output, opened.output_bound] {
                    tokens.put(out);
                }
                opened.started_at.put(out);
            });
        });
        let terms = Terms::new(Pricing::flat("", tariff), opened.terms.exchange_rate(), opened.terms.rate_date()).unwrap();
        let expected = AttemptOpened { terms, ..opened };
        assert_eq!(read_payload(&old, 2), Ok((request_id(7), Record::AttemptOpened { number: 3, opened: Box::new(expected) })));
    }
}
