//! Values and disks for the tests of this folder, and values for those of its callers.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use jiff::Timestamp;

use super::disk::{Disk, FileDisk, SegmentFile};
use super::entry::{AttemptEnd, AttemptOpened, Baseline, Ending, Outcome, RequestEnd, RequestOpened, Terms};
use super::marks::Marks;
use crate::units::{
    BackendId, Currency, ExchangeRate, KeyName, Pieces, Pricing, Provenance, RequestId, Tariff, Thinking, TokenPrice, Tokens,
    Usage, Usd,
};

pub(super) fn request_id(number: u64) -> RequestId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    RequestId::from_parts(1_700_000_000_000 + number, random)
}

pub(super) fn terms() -> Terms {
    let price = |p| TokenPrice::per_million(p).unwrap();
    let tariff = Tariff { cache_read: price("0.2"), ..Tariff::flat(Currency::Cny, price("2"), price("8")) };
    Terms::new(Pricing::flat("acme/fast", tariff), ExchangeRate::parse(Currency::Cny, "7.1").unwrap(), "2026-11-20").unwrap()
}

pub(crate) fn request_opened(number: u64) -> RequestOpened {
    let dear = Pricing::flat("dear", Tariff::flat(Currency::Usd, TokenPrice::from_pico(5_000_000), TokenPrice::FREE));
    RequestOpened {
        id: request_id(number),
        client_request_id: Some(format!("client-{number}")),
        key: KeyName::new(if number.is_multiple_of(2) { "even" } else { "odd" }),
        frontend: "openai_chat".into(),
        requested_model: "auto".into(),
        stream: true,
        session: None,
        arrived_at: Timestamp::from_millisecond(1_700_000_000_000 + i64::try_from(number).unwrap()).unwrap(),
        book_version: "sha256:abc".into(),
        input_estimate: Tokens::new(100),
        expected_output: Tokens::new(200),
        quoted: Usd::from_pico(1_000),
        runner_up: Some(Usd::from_pico(2_000)),
        baseline: Some(Baseline { model: "dear".into(), terms: Terms::new(dear, ExchangeRate::USD, "2026-11-20").unwrap() }),
        facts: format!("facts of {number}").into(),
        marks: Marks { team: Some("web".into()), project: Some(String::new()), tags: vec!["a".into(), "b:1".into()] },
    }
}

pub(crate) fn attempt_opened() -> AttemptOpened {
    AttemptOpened {
        pieces: Pieces::default(),
        backend: BackendId::new("acme", "fast"),
        provider: "acme".into(),
        model: "fast".into(),
        terms: terms(),
        quoted: Usd::from_pico(1_000),
        held: Usd::from_pico(9_000),
        input_estimate: Tokens::new(100),
        input_upper: Tokens::new(150),
        expected_output: Tokens::new(200),
        output_bound: Tokens::new(4_000),
        started_at: Timestamp::from_second(1_700_000_000).unwrap(),
        thinking: Thinking::Unsaid,
    }
}

pub(super) fn usage(input: u64, output: u64) -> Usage {
    Usage::fresh(Tokens::new(input), Tokens::new(output))
}

pub(crate) fn attempt_end(input: u64, output: u64) -> AttemptEnd {
    AttemptEnd {
        ending: Ending::Complete,
        usage: usage(input, output),
        provenance: Provenance::Reported,
        served_model: Some("fast-1".into()),
        served_before: None,
        http_status: Some(200),
        cause: None,
        first_byte_ms: Some(20),
        duration_ms: 40,
        free: None,
    }
}

pub(super) fn request_end() -> RequestEnd {
    RequestEnd { outcome: Outcome::Answered, status: 200, first_byte_ms: Some(20), duration_ms: 41, overhead_us: 90 }
}

/// A disk whose faults a test switches on and off.
#[derive(Default)]
pub(super) struct FaultyDisk {
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    full: AtomicBool,
    failing: AtomicBool,
    torn: AtomicBool,
    stuck: Mutex<bool>,
    released: Condvar,
    writes: AtomicUsize,
    unsynced: AtomicUsize,
}

impl FaultyDisk {
    /// No new file can be made.
    pub(super) fn set_full(&self, full: bool) {
        self.faults.full.store(full, Ordering::SeqCst);
    }

    /// Every write fails.
    pub(super) fn set_failing(&self, failing: bool) {
        self.faults.failing.store(failing, Ordering::SeqCst);
    }

    /// A failing write leaves half its bytes behind.
    pub(super) fn set_torn(&self, torn: bool) {
        self.faults.torn.store(torn, Ordering::SeqCst);
    }

    /// Every write blocks until this is taken back.
    pub(super) fn set_stuck(&self, stuck: bool) {
        *self.faults.stuck.lock().unwrap() = stuck;
        self.faults.released.notify_all();
    }

    /// Writes since the last sync.
    pub(super) fn unsynced(&self) -> usize {
        self.faults.unsynced.load(Ordering::SeqCst)
    }

    pub(super) fn writes(&self) -> usize {
        self.faults.writes.load(Ordering::SeqCst)
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let inner = FileDisk.create(path, bytes)?;
        Ok(Arc::new(FaultyFile { inner, faults: Arc::clone(&self.faults) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileDisk.remove(path)
    }
}

struct FaultyFile {
    inner: Arc<dyn SegmentFile>,
    faults: Arc<Faults>,
}

impl SegmentFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults.writes.fetch_add(1, Ordering::SeqCst);
        let stuck = self.faults.stuck.lock().unwrap();
        drop(self.faults.released.wait_while(stuck, |stuck| *stuck).unwrap());
        if self.faults.failing.load(Ordering::SeqCst) {
            if self.faults.torn.load(Ordering::SeqCst) {
                self.inner.write_at(&bytes[..bytes.len() / 2], offset)?;
            }
            return Err(io::Error::other("input/output error"));
        }
        self.faults.unsynced.fetch_add(1, Ordering::SeqCst);
        self.inner.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.unsynced.store(0, Ordering::SeqCst);
        self.inner.sync()
    }
}
