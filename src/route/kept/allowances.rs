//! What is free and what is paid already, as bytes among the facts. A table without any takes two of them.

use super::{Reader, Unreadable, Writer};
use crate::route::Prepaid;
use crate::route::facts::Allowances;
use crate::units::{Amount, Counted, Grant};

/// In the order of the quotas' and the providers' indexes.
pub(super) fn put(out: &mut Writer, allowances: &Allowances) {
    out.number(allowances.free.len() as u64);
    for left in &allowances.free {
        for counted in Counted::ALL {
            out.option(left.of(counted), Writer::number);
        }
    }
    let prepaid = allowances.prepaid.iter().enumerate().filter_map(|(place, prepaid)| Some((place, (*prepaid)?)));
    out.number(prepaid.clone().count() as u64);
    for (place, prepaid) in prepaid {
        out.number(place as u64);
        out.text(prepaid.left.currency().code());
        out.sixteen(prepaid.left.pico());
        out.byte(u8::from(prepaid.outlasts));
    }
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<Allowances, Unreadable> {
    let grant = |from: &mut Reader<'_>| {
        let mut whole = Ok(());
        let left = Grant::by(|_| {
            from.option(Reader::number).unwrap_or_else(|unreadable| {
                whole = Err(unreadable);
                None
            })
        });
        whole.map(|()| left)
    };
    let free = (0..from.number()?).map(|_| grant(from)).collect::<Result<_, _>>()?;
    let mut prepaid = Vec::new();
    for _ in 0..from.number()? {
        let place: u16 = from.small()?;
        let currency = from.text()?.parse().map_err(|()| Unreadable)?;
        let balance = Prepaid { left: Amount::from_pico(from.sixteen()?, currency), outlasts: from.truth()? };
        prepaid.resize(prepaid.len().max(usize::from(place) + 1), None);
        prepaid[usize::from(place)] = Some(balance);
    }
    Ok(Allowances { free, prepaid })
}

/// Everything that differs from the ordinary.
#[cfg(test)]
pub(super) fn unusual() -> Allowances {
    use crate::units::Currency;
    let balance = |pico, currency, outlasts| Some(Prepaid { left: Amount::from_pico(pico, currency), outlasts });
    let left = Grant::by(|counted| (counted != Counted::InputTokens).then_some(counted as u64 * 300));
    Allowances {
        free: vec![Grant::NOTHING, left],
        prepaid: vec![None, balance(5, Currency::Cny, false), balance(1 << 70, Currency::Usd, true)],
    }
}
