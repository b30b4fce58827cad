//! Any bytes as a price feed, in the format that the first byte chooses (one more reads exchange rates): read or refused, and
//! what is believed of it stays within the guards.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokenbroker::catalog::feed::{Bounds, Cell, Figures, Format, Guards, Kind, Offer, Verdict, decode, judge, rates};
use tokenbroker::units::{Currency, TokenPrice};

fn standing() -> Offer {
    let mut figures = Figures::default();
    for (kind, pico) in [(Kind::Input, 2_000_000), (Kind::CacheRead, 200_000), (Kind::Output, 8_000_000)] {
        figures.set(kind, TokenPrice::from_pico(pico));
    }
    Offer::new(Currency::Usd, vec![Cell { bounds: Bounds::ALL, figures }])
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let formats = Format::WORDS.map(|(format, _)| format);
    let Some(format) = formats.get(usize::from(*first) % (formats.len() + 1)) else {
        let _ = rates::decode(bytes, "fuzz");
        return;
    };
    let Ok(reading) = decode(*format, bytes) else {
        return;
    };
    let stands = standing();
    for proposal in &reading.proposals {
        let Verdict::Accepted(change) = judge(&proposal.offer, Some(&stands), Guards::default()) else {
            continue;
        };
        assert_eq!((change.offer.currency, change.offer.cells.len()), (stands.currency, 1));
        for kind in [Kind::Input, Kind::Output] {
            let (old, new) = (stands.cells[0].figures.effective(kind), change.offer.cells[0].figures.effective(kind));
            let (Some(old), Some(new)) = (old, new) else { panic!("a figure is lost") };
            assert!(new.pico() * 4 >= old.pico() && new.pico() <= old.pico() * 4);
        }
    }
});
