//! The books against the truth, once a storm is over.
//!
//! What a provider reported is booked to the last unit. What it did not report is booked by what we counted of it, and where there
//! was nothing to count, by what was expected: what it really bills nobody can know. What a crash cut off is booked no lower than the
//! truth where a client saw anything of it, and no higher than the stated margin above it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::client;
use super::table::{BACKENDS, Listed};
use super::world::{Ended, Kind, Seen, Served, World};
use crate::ledger::stepped::Noted;
use crate::ledger::{ClosedAttempt, ClosedRequest, Ending, Outcome, lost_margin};
use crate::units::{Pieces, Provenance, RequestId, Tokens, Usage, Usd};

/// Looks for broken promises.
pub(super) fn judge(world: &World) {
    let verdict = Verdict::of(world);
    let numbers: Vec<u64> = world.scene.numbers().collect();
    for number in numbers {
        verdict.check_request(number);
    }
    verdict.check_sum();
    for contradiction in world.store.contradictions() {
        // Power may take the end of a page that the store has already.
        if !world.scene.loses_power() {
            world.breaks(format!("a request was booked twice: {contradiction}"));
        }
    }
    if !world.scene.loses_power() {
        check_ends(world);
    }
}

struct Verdict<'w> {
    world: &'w World,
    rows: BTreeMap<String, ClosedRequest>,
    served: BTreeMap<u64, Vec<Served>>,
    seen: BTreeMap<u64, Seen>,
    ends: Vec<Ended>,
}

/// Whether an attempt was booked as it should be, and what it truly cost, where that can be known.
type Judged = Result<Option<i128>, String>;

impl<'w> Verdict<'w> {
    fn of(world: &'w World) -> Self {
        let mut rows = BTreeMap::new();
        for row in world.store.requests() {
            let name = row.opened.client_request_id.clone().unwrap_or_default();
            if rows.insert(name, row.clone()).is_some() {
                world.breaks(format!("two rows of one request: {row:#?}"));
            }
        }
        let mut served: BTreeMap<u64, Vec<Served>> = BTreeMap::new();
        for call in world.served.lock().unwrap().iter() {
            served.entry(call.number).or_default().push(call.clone());
        }
        let (seen, ends) = (world.seen.lock().unwrap().clone(), world.ends.lock().unwrap().clone());
        Self { world, rows, served, seen, ends }
    }

    fn calls(&self, number: u64) -> &[Served] {
        self.served.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Whether power took with it what is known of a request.
    fn is_forgotten(&self, seen: &Seen) -> bool {
        let end = self.ends[seen.life];
        end.forgets && seen.at >= end.safe_until()
    }

    fn check_request(&self, number: u64) {
        let (calls, seen) = (self.calls(number), self.seen.get(&number).cloned().unwrap_or_default());
        if self.is_forgotten(&seen) {
            return;
        }
        let row = self.rows.get(&client::name(number));
        let mut problems = Vec::new();
        match row {
            Some(row) => {
                problems.extend(self.check_seen(&seen, row));
                for attempt in &row.attempts {
                    let call = calls.iter().find(|call| call.backend == attempt.opened.backend);
                    problems.extend(self.check_attempt(attempt, call, &seen).err());
                }
            }
            None if seen.pieces > 0 || seen.whole => problems.push("a client has an answer that is in no book".to_owned()),
            None => {}
        }
        let booked =
            |call: &&Served| row.is_some_and(|row| row.attempts.iter().any(|attempt| attempt.opened.backend == call.backend));
        for call in calls.iter().filter(|call| !booked(call)) {
            // It was on its way to the disk when the gateway died.
            let end = self.ends[call.life];
            if !end.crashed || call.at < end.safe_until() || seen.pieces > 0 {
                problems.push(format!("sent and not booked: {call:?}"));
            }
        }
        for problem in problems {
            let mut told = format!("#{number}: {problem}\n  {seen:?}\n");
            for call in calls {
                writeln!(told, "  {call:?}").unwrap();
            }
            if let Some(row) = row {
                writeln!(told, "  {:?}", row.end).unwrap();
                for attempt in &row.attempts {
                    writeln!(told, "  {} {:?} {:?}", attempt.opened.backend, attempt.end, attempt.cost).unwrap();
                }
            }
            self.world.breaks(told);
        }
    }

    /// No answer outruns the books.
    fn check_seen(&self, seen: &Seen, row: &ClosedRequest) -> Option<String> {
        if Some(row.opened.id) != seen.id {
            return Some("it has another id".to_owned());
        }
        let answered = row.end.outcome == Outcome::Answered && row.attempts.iter().any(|a| a.end.ending == Ending::Complete);
        let cost = seen.cost.is_none_or(|cost| cost == row.cost());
        let ended = self.ends[seen.life].crashed || row.end.outcome != Outcome::Lost;
        match (seen.whole, answered) {
            (true, false) => Some("the whole answer is not booked as one".to_owned()),
            _ if !cost => Some(format!("another cost was told than {:?}", row.cost())),
            _ if !ended => Some("it was lost without a crash".to_owned()),
            _ => None,
        }
    }

    fn check_attempt(&self, attempt: &ClosedAttempt, call: Option<&Served>, seen: &Seen) -> Judged {
        let listed = listed(attempt);
        let booked = listed.cost(&attempt.end.usage);
        if booked != attempt.cost.usd.pico() {
            return Err(format!("booked at another price than {booked}"));
        }
        let Some(call) = call else {
            // A crash cannot know whether it was sent.
            let lost = attempt.end.ending == Ending::Lost && attempt.end.usage == expected(attempt);
            let nothing = attempt.end.usage == Usage::default();
            return if nothing || lost { Ok(Some(0)) } else { Err("never sent and billed".to_owned()) };
        };
        match (attempt.end.ending, attempt.end.provenance) {
            (Ending::Lost, _) => self.check_lost(attempt, call, seen),
            (Ending::Failed | Ending::TimedOut | Ending::Superseded, _) => check_failed(attempt, call),
            (Ending::Abandoned, Provenance::Estimated) if attempt.end.usage == expected(attempt) => Ok(None),
            (ending, _) => check_answer(attempt, call, ending == Ending::Complete),
        }
    }

    /// What a crash cut off.
    fn check_lost(&self, attempt: &ClosedAttempt, call: &Served, seen: &Seen) -> Judged {
        let usage = attempt.end.usage;
        if attempt.cost.usd > attempt.opened.held && self.world.scene.honest {
            return Err("lost, and booked above what was held".to_owned());
        }
        if usage == expected(attempt) && seen.pieces == 0 {
            return Ok(None);
        }
        // Who reports more than it was asked for may report anything.
        if !self.world.scene.honest {
            return Ok(None);
        }
        let (truth, output) = (call.made, usage.output.get());
        let most = truth + lost_margin(Tokens::new(truth), Provenance::Estimated).get();
        let input = call.input..=attempt.opened.input_upper.get().max(call.input);
        if !(truth..=most).contains(&output) || !input.contains(&usage.input().get()) {
            return Err(format!("lost: {truth} of output are the truth, {most} the most, {output} booked; input {input:?}"));
        }
        Ok(None)
    }

    /// The sum of all rows is the sum of what is true of each, to the last unit.
    fn check_sum(&self) {
        let (mut truth, mut sum) = (0, Usd::ZERO);
        for row in self.rows.values() {
            let number: u64 = row.opened.client_request_id.as_deref().unwrap_or_default()[1..].parse().unwrap();
            let seen = self.seen.get(&number).cloned().unwrap_or_default();
            for attempt in &row.attempts {
                let call = self.calls(number).iter().find(|call| call.backend == attempt.opened.backend);
                let known = self.check_attempt(attempt, call, &seen).ok().flatten();
                truth += known.unwrap_or(attempt.cost.usd.pico());
                sum += attempt.cost.usd;
            }
            let alone: Usd = row.attempts.iter().map(|attempt| attempt.cost.usd).sum();
            if row.cost() != alone {
                self.world.breaks(format!("a row is not the sum of its attempts: {row:#?}"));
            }
        }
        if truth != sum.pico() {
            self.world.breaks(format!("{} are booked in all, and {truth} are true", sum.pico()));
        }
    }
}

fn listed(attempt: &ClosedAttempt) -> &'static Listed {
    BACKENDS.iter().find(|listed| listed.id() == attempt.opened.backend).unwrap()
}

/// What is booked where nothing of an answer was seen.
fn expected(attempt: &ClosedAttempt) -> Usage {
    let opened = &attempt.opened;
    let Pieces { expected, .. } = opened.pieces;
    Usage { pieces: expected, ..Usage::fresh(opened.input_estimate, opened.expected_output.min(opened.output_bound)) }
}

/// An attempt without an answer: what was reported all the same, or nothing, or what was expected where it may be billed.
fn check_failed(attempt: &ClosedAttempt, call: &Served) -> Judged {
    let usage = attempt.end.usage;
    if let Some(told) = call.told
        && usage == told
    {
        return Ok(Some(listed(attempt).cost(&told)));
    }
    let nothing = usage == Usage::default();
    match call.kind {
        // Nobody waited for what it would have said.
        _ if attempt.end.ending != Ending::Failed && usage == expected(attempt) => Ok(None),
        Kind::Unreached | Kind::Refused if nothing => Ok(Some(0)),
        // An error in the place of an answer is billed by nobody; what broke before it began may be.
        Kind::Answered if nothing && attempt.end.ending == Ending::Failed && call.made == 0 => Ok(Some(0)),
        Kind::Silent | Kind::Spoilt | Kind::Answered if usage == expected(attempt) => Ok(None),
        // Its turn was over before it was sent.
        _ if nothing && attempt.end.cause.as_deref() == Some("not sent") => Ok(Some(0)),
        kind => Err(format!("{kind:?} and booked so")),
    }
}

/// An attempt whose answer began: by its report, or as far as it came.
fn check_answer(attempt: &ClosedAttempt, call: &Served, complete: bool) -> Judged {
    let usage = attempt.end.usage;
    let truth = match call.told {
        Some(told) => Usage { output: told.output.max(Tokens::new(call.made)), ..told },
        None => Usage::fresh(usage.fresh_input, Tokens::new(call.made)),
    };
    let input_known = call.told.is_some() || (usage.input() > Tokens::ZERO && usage.input() <= attempt.opened.input_upper);
    let reported = attempt.end.provenance == Provenance::Reported;
    let said_so = if complete { reported == call.told.is_some() } else { call.told.is_some() || !reported };
    if usage != truth || !input_known || !said_so {
        return Err(format!("{truth:?} is the truth"));
    }
    Ok(Some(listed(attempt).cost(&truth)))
}

/// Every attempt and every request ends exactly once, in the journal too.
fn check_ends(world: &World) {
    let mut ends: BTreeMap<(RequestId, Option<u32>), (usize, usize)> = BTreeMap::new();
    for (request, noted) in world.disk.records() {
        match noted {
            Noted::Opened => ends.entry((request, None)).or_default().0 += 1,
            Noted::AttemptOpened(number) => ends.entry((request, Some(number))).or_default().0 += 1,
            Noted::Closed => ends.entry((request, None)).or_default().1 += 1,
            Noted::AttemptEnded(number) => ends.entry((request, Some(number))).or_default().1 += 1,
            Noted::Checkpoint(_) => {}
        }
    }
    let crashes = world.scene.crashes() > 0;
    for ((request, attempt), (begun, ended)) in ends {
        if begun > 1 || ended > 1 || (!crashes && (begun, ended) != (1, 1)) {
            world.breaks(format!("{request:?} attempt {attempt:?} began {begun} times and ended {ended} times"));
        }
    }
}
