//! The war as a picture: cumulative spend by policy over the virtual time, with the steps of prices that mattered. Plain
//! SVG on a white ground, written by hand: it needs no library, and text stays text.
//!
//! The scale is that of the policies that are near each other; lines of those that spend a multiple leave the picture at the
//! top and are told in words, since on their scale the others would be one line.

use std::fmt::Write;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::peers::Policy;
use super::steps::Step;
use super::war::{Outcome, PARTS, Spend};
use super::workload::Plan;
use crate::catalog::Snapshot;
use crate::units::Usd;

/// Wide enough for the longest label in the font that stands for Arial where there is none.
const WIDTH: i128 = 1160;
/// The frame of the curves.
const LEFT: i128 = 70;
const RIGHT: i128 = 730;
const TOP: i128 = 96;
const BOTTOM: i128 = 436;
/// Where the list of steps begins, and the height of a line of it.
const LIST: i128 = 516;
const LINE: i128 = 20;
/// Steps that are told by name.
const TOLD: usize = 10;
/// Between two labels at least.
const APART: i128 = 17;
/// Policies that spend more than so many times the optimum are off the scale.
const NEAR: i128 = 3;

/// A curve with its name.
struct Curve<'a> {
    name: &'static str,
    colour: &'static str,
    style: &'static str,
    spend: &'a Spend,
}

/// Draws an outcome.
pub fn picture(snapshot: &Snapshot, plan: Plan, outcome: &Outcome, steps: &[Step]) -> String {
    let curves = curves(outcome);
    let optimum = outcome.optimum.total.pico();
    let (near, far): (Vec<_>, Vec<_>) = curves.iter().partition(|curve| curve.spend.total.pico() <= NEAR * optimum);
    let most = near.iter().map(|curve| curve.spend.total.pico()).max().unwrap_or(0).max(1) * 105 / 100;
    let told = told(steps);
    let height = LIST + LINE * i128::try_from(told.len().div_ceil(2)).unwrap_or(0) + 24;
    let mut svg = head(height, plan, outcome, snapshot);
    axes(&mut svg, plan, most);
    marks(&mut svg, snapshot, plan, steps, &told);
    svg += "<g clip-path=\"url(#frame)\" fill=\"none\">\n";
    for curve in curves.iter().rev() {
        line(&mut svg, curve, most);
    }
    svg += "</g>\n";
    labels(&mut svg, &near, &far, most, outcome.optimum.total);
    svg += "</svg>\n";
    svg
}

fn curves(outcome: &Outcome) -> Vec<Curve<'_>> {
    let look = |policy| match policy {
        Policy::Broker => ("#0b7a4b", "stroke-width=\"3\""),
        Policy::ListNominal => ("#c8324a", "stroke-width=\"2\""),
        Policy::ListConverted => ("#b87400", "stroke-width=\"2\""),
        Policy::RoundRobin => ("#4a6fb5", "stroke-width=\"2\""),
        Policy::Strongest => ("#7a4fb0", "stroke-width=\"2\""),
    };
    let of = |(policy, spend): (&Policy, _)| {
        let (colour, style) = look(*policy);
        Curve { name: policy.word(), colour, style, spend }
    };
    let optimum = Curve {
        name: "clairvoyant optimum",
        colour: "#222222",
        style: "stroke-width=\"2\" stroke-dasharray=\"6 4\"",
        spend: &outcome.optimum,
    };
    let mut all: Vec<Curve<'_>> = outcome.spends.iter().map(of).chain([optimum]).collect();
    all.sort_by_key(|curve| curve.spend.total);
    all
}

fn head(height: i128, plan: Plan, outcome: &Outcome, snapshot: &Snapshot) -> String {
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let (from, until) = (day(plan.from), day(plan.until));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#222222\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">Cumulative spend of routing policies in a simulated price war</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <clipPath id=\"frame\"><rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{}\" height=\"{}\"/></clipPath>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"18\" font-weight=\"bold\">A simulated price war: what each policy has spent</text>\n\
         <text x=\"{LEFT}\" y=\"46\" fill=\"#555555\">{} requests, {from} to {until}, dated prices of table {}; answers, \
         cache hits and failures are drawn</text>\n",
        RIGHT - LEFT,
        BOTTOM - TOP,
        outcome.served,
        escaped(&snapshot.version),
    )
}

/// Where an instant stands.
fn across(plan: Plan, at: Timestamp) -> i128 {
    let (whole, gone) = (plan.until.as_second() - plan.from.as_second(), at.as_second() - plan.from.as_second());
    LEFT + (RIGHT - LEFT) * i128::from(gone) / i128::from(whole.max(1))
}

/// Where an amount stands.
fn up(pico: i128, most: i128) -> i128 {
    BOTTOM - (BOTTOM - TOP) * pico / most.max(1)
}

fn axes(svg: &mut String, plan: Plan, most: i128) {
    let step = round_step(most / 6);
    let mut amount = 0;
    while amount <= most {
        let y = up(amount, most);
        put(svg, format_args!("<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#e6e6e6\"/>"));
        let label = Usd::from_pico(amount).to_exact();
        put(svg, format_args!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">${label}</text>", LEFT - 8, y + 4));
        amount += step;
    }
    for (at, label) in dates(plan) {
        let x = across(plan, at);
        put(svg, format_args!("<line x1=\"{x}\" x2=\"{x}\" y1=\"{BOTTOM}\" y2=\"{}\" stroke=\"#222222\"/>", BOTTOM + 5));
        put(svg, format_args!("<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", BOTTOM + 20));
    }
    let (middle, below) = (i128::midpoint(LEFT, RIGHT), BOTTOM + 42);
    put(svg, format_args!("<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">virtual time (UTC)</text>"));
    let (x, y) = (18, i128::midpoint(TOP, BOTTOM));
    put(
        svg,
        format_args!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" transform=\"rotate(-90 {x} {y})\">cumulative spend (US dollars)</text>"
        ),
    );
    put(svg, format_args!("<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#222222\"/>"));
}

/// The least of 1, 2 and 5 with noughts behind it that is not below: a step of a scale.
pub fn round_step(least: i128) -> i128 {
    let mut power = 1;
    while power * 10 <= least {
        power *= 10;
    }
    [1, 2, 5, 10].into_iter().map(|digit| digit * power).find(|step| *step >= least).unwrap_or(power).max(1)
}

/// The beginnings of months; of a short time some days.
fn dates(plan: Plan) -> Vec<(Timestamp, String)> {
    let day = |date: Date| date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).ok();
    let first = plan.from.to_zoned(TimeZone::UTC).date();
    let months = |n: i32| first.first_of_month().checked_add(n.months()).ok().and_then(day);
    let within = |at: &Timestamp| (plan.from..=plan.until).contains(at);
    let months: Vec<Timestamp> = (0..36).filter_map(months).filter(within).collect();
    if (3..=14).contains(&months.len()) {
        return months.into_iter().map(|at| (at, at.strftime("%Y-%m").to_string())).collect();
    }
    let sixth = (plan.until.as_second() - plan.from.as_second()) / 6;
    let parts = (0..=6).filter_map(|n| Timestamp::from_second(plan.from.as_second() + n * sixth).ok());
    parts.map(|at| (at, at.strftime("%Y-%m-%d").to_string())).collect()
}

fn line(svg: &mut String, curve: &Curve<'_>, most: i128) {
    let mut path = format!("M{LEFT} {BOTTOM}");
    for (part, sum) in (1_i128..).zip(&curve.spend.course) {
        let parts = i128::try_from(PARTS).unwrap_or(1);
        // Beyond the frame is beyond it, however far.
        let y = up(sum.pico(), most).max(-2_000);
        write!(path, "L{} {y}", LEFT + (RIGHT - LEFT) * part / parts).unwrap_or_default();
    }
    put(svg, format_args!("<path d=\"{path}\" stroke=\"{}\" {}/>", curve.colour, curve.style));
}

/// Names at the ends of the curves, none over another.
fn labels(svg: &mut String, near: &[&Curve<'_>], far: &[&Curve<'_>], most: i128, optimum: Usd) {
    let told = |curve: &Curve<'_>| {
        let over = (curve.spend.total - optimum).pico() * 1000 / optimum.pico().max(1);
        let cents = (curve.spend.total.pico() + 5_000_000_000) / 10_000_000_000;
        let spent = format!("${}.{:02}", cents / 100, cents % 100);
        if curve.style.contains("dash") { spent } else { format!("{spent}, +{}.{}%", over / 10, over % 10) }
    };
    let mut lowest = BOTTOM + APART;
    for curve in near {
        lowest = (up(curve.spend.total.pico(), most) + 4).min(lowest - APART);
        label(svg, lowest, curve, &told(curve));
    }
    for (curve, place) in far.iter().rev().zip(0..) {
        label(svg, (TOP - 26 + APART * place).min(lowest - APART), curve, &format!("{}, off the scale", told(curve)));
    }
}

fn label(svg: &mut String, y: i128, curve: &Curve<'_>, told: &str) {
    let (x, colour, name) = (RIGHT + 8, curve.colour, curve.name);
    put(
        svg,
        format_args!("<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\"><tspan font-weight=\"bold\">{name}</tspan> {told}</text>"),
    );
}

/// The steps that are told: of prices that were before, those of the most asked backends; in the order of time.
fn told(steps: &[Step]) -> Vec<&Step> {
    let mut changes: Vec<&Step> = steps.iter().filter(|step| step.percent.is_some()).collect();
    changes.sort_by_key(|step| std::cmp::Reverse(step.requests));
    changes.truncate(TOLD);
    changes.sort_by_key(|step| step.at);
    changes
}

fn marks(svg: &mut String, snapshot: &Snapshot, plan: Plan, steps: &[Step], told: &[&Step]) {
    for step in steps {
        let x = across(plan, step.at);
        put(svg, format_args!("<line x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{BOTTOM}\" stroke=\"#aaaaaa\"/>", BOTTOM - 6));
    }
    let mut ends = [LEFT - APART; 3];
    for (step, number) in told.iter().zip(1..) {
        let x = across(plan, step.at);
        let row = ends.iter().position(|end| x - end >= APART).unwrap_or(ends.len() - 1);
        ends[row] = x;
        let y = TOP - 8 - APART * i128::try_from(row).unwrap_or(0);
        put(
            svg,
            format_args!(
                "<line x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{BOTTOM}\" stroke=\"#999999\" stroke-dasharray=\"2 4\"/>",
                y + 8
            ),
        );
        put(svg, format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"8\" fill=\"#ffffff\" stroke=\"#777777\"/>"));
        put(svg, format_args!("<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\">{number}</text>", y + 4));
    }
    let heading =
        "Steps of prices (input and output by list, in dollars); ticks above the axis: every step and every new backend";
    put(svg, format_args!("<text x=\"{LEFT}\" y=\"{}\" fill=\"#555555\">{heading}</text>", LIST - 6));
    for (place, step) in told.iter().enumerate() {
        let rows = told.len().div_ceil(2);
        let (column, row) = (i128::try_from(place / rows).unwrap_or(0), i128::try_from(place % rows).unwrap_or(0));
        let (x, y) = (LEFT + column * 470, LIST + LINE * (row + 1) - 4);
        let (day, id) = (step.at.strftime("%Y-%m-%d"), escaped(snapshot.backend(step.backend).id.as_str()));
        let percent = step.percent.unwrap_or(100);
        put(
            svg,
            format_args!("<text x=\"{x}\" y=\"{y}\">{}. {day} {id} × {}.{:02}</text>", place + 1, percent / 100, percent % 100),
        );
    }
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").unwrap_or_default();
}

/// A text as it may stand in SVG.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::steps::steps;
    use crate::simulate::testing::{Row, settings, table, workload};
    use crate::simulate::war::play;
    use crate::simulate::world::World;

    #[test]
    fn steps_of_a_scale_are_round() {
        assert_eq!([0, 1, 3, 7, 19, 51, 99].map(round_step), [1, 1, 5, 10, 20, 100, 100]);
    }

    #[test]
    fn what_is_written_stays_text() {
        assert_eq!(escaped("a<b & \"c\">"), "a&lt;b &amp; &quot;c&quot;&gt;");
    }

    #[test]
    fn every_policy_has_its_curve_and_every_step_its_line() {
        let prices = "[[backends.prices]]\nuntil = 2026-08-01T00:00:00Z\ninput = 1\noutput = 1\nsource = \"test\"\n\
            [[backends.prices]]\nfrom = 2026-08-01T00:00:00Z\ninput = 3\noutput = 2\nsource = \"test\"";
        let snapshot = table(&[Row("north/mist", "USD", prices)]);
        let (plan, turns) = workload(30, 1);
        let outcome = play(&World::new(&snapshot, settings(), plan.seed), plan, &turns);
        let drawn = picture(&snapshot, plan, &outcome, &steps(&snapshot, plan, &outcome));
        for word in Policy::ALL.map(Policy::word).into_iter().chain(["1. 2026-08-01 north/mist × 2.50", ">2026-05<", "</svg>"]) {
            assert!(drawn.contains(word), "{word}");
        }
        assert_eq!(drawn.matches("<path").count(), 7, "six curves and the axes");
    }
}
