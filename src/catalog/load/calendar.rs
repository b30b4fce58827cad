//! The tables `[holidays.NAME]` and `[calendars.NAME]`.

use std::sync::Arc;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::{date, required};
use crate::catalog::calendar::{Calendar, HolidayRule, Holidays};
use crate::document::{Section, nearest};
use crate::units::Factor;

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: i32 = 86_400;

/// Every calendar, in the order of their names.
pub(super) fn read_all(root: &Section<'_, '_>) -> Vec<Arc<Calendar>> {
    let holidays = named(root, "holidays", holidays);
    let mut calendars = named(root, "calendars", |name, section| calendar(name, section, &holidays));
    for (index, calendar) in calendars.iter_mut().enumerate() {
        calendar.index = index;
    }
    calendars.into_iter().map(Arc::new).collect()
}

/// Tables whose names are the operator's own, in the order of the names.
fn named<T>(root: &Section<'_, '_>, member: &'static str, read: impl Fn(&str, &Section<'_, '_>) -> Option<T>) -> Vec<T> {
    let Some(table) = root.section(member) else { return Vec::new() };
    let mut names: Vec<&str> = table.names().collect();
    names.sort_unstable();
    let one = |name: &str| {
        let section = table.named_section(name)?;
        let value = read(name, &section);
        section.finish();
        value
    };
    names.into_iter().filter_map(one).collect()
}

fn holidays(name: &str, section: &Section<'_, '_>) -> Option<Arc<Holidays>> {
    const DAYS: &str = "the first and the last day for which the days off are known";
    let first = required(section, "first", DAYS, date);
    let last = required(section, "last", DAYS, date);
    let source = section.required_text("source", "who published the days, and when");
    let (days_off, make_up_days) = (dates(section, "days_off"), dates(section, "make_up_days"));
    let (first, last) = (first?, last?);
    if last < first {
        section.problem("last", "the range ends before it begins", format!("a day from {first} on"));
    }
    let outside = |day: &&Date| **day < first || **day > last;
    for day in days_off.iter().chain(&make_up_days).filter(outside) {
        section.problem("days_off", format!("{day} is outside the range"), format!("days from {first} to {last}"));
    }
    Some(Arc::new(Holidays::new(name.to_owned(), (first, last), &days_off, &make_up_days, source?)))
}

fn dates(section: &Section<'_, '_>, name: &'static str) -> Vec<Date> {
    let parsed = |text: String| {
        let date = text.parse().ok();
        if date.is_none() {
            section.problem(name, format!("{text:?} is no date"), super::DATE_SHAPE);
        }
        date
    };
    section.date_texts(name).into_iter().filter_map(parsed).collect()
}

fn calendar(name: &str, section: &Section<'_, '_>, holidays: &[Arc<Holidays>]) -> Option<Calendar> {
    const ZONE: &str = "an IANA time zone such as Asia/Shanghai";
    let zone_name = section.required_text("zone", ZONE);
    let zone = zone_name.as_deref().and_then(|name| TimeZone::get(name).ok());
    if let (Some(name), None) = (&zone_name, &zone) {
        section.problem("zone", format!("{name:?} is not known"), ZONE);
    }
    let source = section.required_text("source", "the document the hours are from, and its date");
    let holidays = kept_holidays(section, holidays);
    let sections = section.sections("windows");
    if sections.is_empty() {
        section.problem("windows", "there is no window", "at least one");
    }
    let windows = sections.iter().filter_map(window).collect();
    sections.into_iter().for_each(Section::finish);
    Some(Calendar::new(name.to_owned(), zone?, windows, holidays, source?))
}

fn kept_holidays(section: &Section<'_, '_>, known: &[Arc<Holidays>]) -> Option<(Arc<Holidays>, HolidayRule)> {
    let rule = HolidayRule {
        windows_on_days_off: section.word("on_holidays", &[(false, "never"), (true, "always")]).unwrap_or(false),
        make_up_days_are_workdays: section.word("make_up_days", &[(false, "ordinary"), (true, "workday")]).unwrap_or(false),
    };
    let name = section.text("holidays")?;
    let found = known.iter().find(|holidays| holidays.name == name).cloned();
    if found.is_none() {
        let near = nearest(&name, known.iter().map(|holidays| holidays.name.as_str()));
        let hint = near.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
        section.problem("holidays", format!("there are no holidays {name:?}{hint}"), "the name of a table [holidays.NAME]");
    }
    Some((found?, rule))
}

/// Days, beginning and end in seconds after midnight, and the factor.
fn window(section: &Section<'_, '_>) -> Option<([bool; 7], i32, i32, Factor)> {
    const FACTOR: &str = "by how much prices are multiplied";
    let days = days(section);
    let from = required(section, "from", HOUR, hour);
    let to = required(section, "to", HOUR, hour);
    let text = required(section, "times", FACTOR, Section::decimal)?;
    let factor = Factor::parse(&text);
    if let Err(accepted) = factor {
        section.problem("times", format!("{text} is no factor"), accepted);
    }
    let (from, to) = (from?, to?);
    if from == to {
        section.problem("to", "the window ends when it begins", "another hour");
    }
    // Midnight as an end is that of the same day.
    Some((days, from, if to == 0 { DAY } else { to }, factor.ok()?))
}

fn days(section: &Section<'_, '_>) -> [bool; 7] {
    if !section.has("days") {
        return [true; 7];
    }
    let mut days = [false; 7];
    for word in section.texts("days") {
        match WEEKDAYS.iter().position(|day| *day == word) {
            Some(day) => days[day] = true,
            None => section.problem("days", format!("{word:?} is no weekday"), WEEKDAYS.join(", ")),
        }
    }
    days
}

const HOUR: &str = "a local time such as 09:00 or 16:30:00";

fn hour(section: &Section<'_, '_>, name: &'static str) -> Option<i32> {
    let text = section.text(name)?;
    let time: Option<Time> = text.parse().ok();
    if time.is_none() {
        section.problem(name, format!("{text:?} is no time of day"), HOUR);
    }
    time.map(|time| i32::from(time.hour()) * 3600 + i32::from(time.minute()) * 60 + i32::from(time.second()))
}
