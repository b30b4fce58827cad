//! One request of the feed as markup. Pure: a view comes in, markup goes out, the same for the page at load and for what
//! follows live. A piece is one line without a line break, so that it is one line of an event stream.

use super::html::Html;
use crate::feed::words::{duration, grouped, money, percent, permille, phrase, times};
use crate::feed::{CandidateView, CountView, EntryView, Money, PlanView, State, TryView};
use crate::units::Usd;

/// A request as an item of the feed's list.
pub(super) fn card(entry: &EntryView, baseline: bool) -> Html {
    let mut html = Html::default();
    html.around("<li class=\"card ", tone(entry), "\" data-number=\"").text(&entry.number.to_string());
    html.raw("\"><article>");
    heading(&mut html, entry);
    html.raw("<div class=\"body\">");
    if let Some(plan) = &entry.plan {
        candidates(&mut html, plan, entry);
    }
    outcome(&mut html, entry, baseline);
    html.raw("</div></article></li>");
    html
}

fn tone(entry: &EntryView) -> &'static str {
    match entry.state {
        State::Open => "open",
        State::Answered if entry.moved_on() => "answered moved",
        State::Answered => "answered",
        State::Refused => "refused",
        State::Failed | State::Cut | State::Abandoned | State::Lost => "failed",
    }
}

/// Who asked for what and when; who won and for how much.
fn heading(html: &mut Html, entry: &EntryView) {
    html.raw("<header><h3><span class=\"asked\"><span class=\"quiet\">asked for</span> <bdi class=\"name\">");
    html.text(entry.model.as_deref().unwrap_or("a request that cannot be read")).raw("</bdi></span>");
    match (entry.winner(), entry.state) {
        (Some(winner), State::Answered) => {
            html.raw("<span class=\"won\"><span class=\"quiet\">won by</span> ").around(
                "<bdi class=\"name\">",
                winner,
                "</bdi></span>",
            );
        }
        (Some(winner), _) => {
            html.raw("<span class=\"won\"><span class=\"quiet\">first asked</span> ");
            html.around("<bdi class=\"name\">", winner, "</bdi></span>");
        }
        (None, _) => {}
    }
    html.raw("</h3>");
    price(html, entry);
    html.raw("<p class=\"meta\">").raw("<time datetime=\"").text(&entry.at).around("\">", &clock(&entry.at), " UTC</time>");
    html.raw("<span>key ").around("<bdi>", &entry.key, "</bdi></span>");
    if entry.stream {
        html.raw("<span>stream</span>");
    }
    if let Some(id) = &entry.client_request_id {
        html.raw("<span>id ").around("<bdi>", id, "</bdi></span>");
    }
    html.raw("</p></header>");
}

fn price(html: &mut Html, entry: &EntryView) {
    html.raw("<p class=\"price\">");
    match (entry.cost_usd, entry.state) {
        (Some(cost), _) => {
            exact(html, cost);
        }
        (None, State::Open) => {
            html.raw("<span class=\"waiting\">under way</span>");
        }
        (None, _) => {
            html.raw("<span class=\"quiet\">nothing spent</span>");
        }
    }
    if let (Some(saved), Some(elsewhere)) = (entry.saved_usd, entry.elsewhere_usd)
        && let Some(share) = permille(saved.0, elsewhere.0)
    {
        let word = if share < 0 { " dearer" } else { " saved" };
        html.raw("<span class=\"saved\">").text(&percent(share.saturating_abs())).text(word).raw("</span>");
    }
    html.raw("</p>");
}

/// The candidates with their expected cost as bars on one linear scale that begins at nothing.
fn candidates(html: &mut Html, plan: &PlanView, entry: &EntryView) {
    let most = plan.candidates.iter().map(|candidate| candidate.expected_usd.0).max().unwrap_or(Usd::ZERO);
    html.raw("<table class=\"candidates\"><caption>Expected cost of ");
    html.text(&grouped(plan.adequate as u64)).raw(" adequate of ").text(&grouped(plan.considered as u64));
    html.raw(" considered</caption><thead class=\"hidden\"><tr><th scope=\"col\">Backend</th><th scope=\"col\">Bar</th><th scope=\"col\">Expected cost</th><th scope=\"col\">Times the winner</th></tr></thead><tbody>");
    let base = plan.candidates.iter().find(|candidate| entry.winner() == Some(candidate.backend.as_str()));
    let base = base.map_or(Usd::ZERO, |candidate| candidate.expected_usd.0);
    let runner_up = entry.runner_up().map(|candidate| candidate.backend.as_str());
    let mut last = 0;
    for candidate in &plan.candidates {
        let skipped = candidate.rank - last - 1;
        if skipped > 0 {
            html.around("<tr class=\"more\"><td colspan=\"4\">", &skipped.to_string(), " more between</td></tr>");
        }
        last = candidate.rank;
        let won = entry.winner() == Some(candidate.backend.as_str());
        let next = runner_up == Some(candidate.backend.as_str());
        row(html, candidate, &marks(entry, candidate, won, next), won, (base, most));
    }
    html.raw("</tbody></table>");
}

fn marks(entry: &EntryView, candidate: &CandidateView, won: bool, next: bool) -> Vec<&'static str> {
    let tried = entry.tries.iter().find(|tried| tried.backend == candidate.backend);
    let failed = tried.is_some_and(|tried| !tried.outrun());
    let outrun = tried.is_some_and(TryView::outrun);
    let first = match entry.state {
        State::Answered => "won",
        _ => "first",
    };
    let next = next && !failed && !outrun;
    let marks =
        [(won, first), (failed, "failed"), (outrun, "outrun"), (next, "runner-up"), (candidate.dearest && !next, "dearest")];
    marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect()
}

/// `scale`: what the winner and what the dearest are expected to cost.
fn row(html: &mut Html, candidate: &CandidateView, marks: &[&'static str], won: bool, (base, most): (Usd, Usd)) {
    html.raw(if won { "<tr class=\"winner\">" } else { "<tr>" });
    html.around("<th scope=\"row\"><bdi>", &candidate.backend, "</bdi>");
    for mark in marks {
        html.around(" <span class=\"mark ", mark, "\">").around("", mark, "</span>");
    }
    let share = permille(candidate.expected_usd.0, most).unwrap_or(0).clamp(0, 1000);
    html.raw("</th><td class=\"bar\"><svg viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">");
    html.raw("<rect class=\"track\" width=\"1000\" height=\"8\"/>");
    // A cost that is not nothing shows as a hairline at least.
    let share = if candidate.expected_usd.0 > Usd::ZERO { share.max(4) } else { share };
    html.around("<rect class=\"fill\" width=\"", &share.to_string(), "\" height=\"8\"/></svg></td><td class=\"cost\">");
    exact(html, candidate.expected_usd).raw("</td><td class=\"times\">");
    let cost = candidate.expected_usd.0;
    html.text(&times(cost, base).filter(|_| !won).unwrap_or_default()).raw("</td></tr>");
}

/// What became of it, and why others were left out.
fn outcome(html: &mut Html, entry: &EntryView, baseline: bool) {
    html.raw("<dl class=\"outcome\">");
    html.raw("<div><dt>Ending</dt><dd>").text(&ending(entry)).raw("</dd></div>");
    if let (Some(input), Some(output)) = (entry.input_tokens, entry.output_tokens) {
        html.raw("<div><dt>Tokens</dt><dd>").text(&grouped(input)).raw(" in, ").text(&grouped(output)).raw(" out");
        if let Some(provenance) = &entry.provenance {
            html.around(" <span class=\"quiet\">", provenance, "</span>");
        }
        html.raw("</dd></div>");
    }
    if let Some(took) = entry.duration_ms {
        html.raw("<div><dt>Time</dt><dd>");
        if let Some(first) = entry.first_byte_ms {
            html.text(&duration(first)).raw(" to first token, ");
        }
        html.text(&duration(took)).raw(" in all</dd></div>");
    }
    if let (Some(elsewhere), Some(_)) = (entry.elsewhere_usd, entry.saved_usd) {
        html.raw(if baseline { "<div><dt>Baseline</dt><dd>" } else { "<div><dt>Dearest</dt><dd>" });
        exact(html, elsewhere).raw(" <span class=\"quiet\">for the same tokens</span></dd></div>");
    }
    let (outrun, failed): (Vec<_>, Vec<_>) = entry.tries.iter().partition(|tried| tried.outrun());
    for (title, tries) in [("<div class=\"trail\"><dt>Failed</dt><dd><ol>", failed), ("<div><dt>Outran</dt><dd><ol>", outrun)] {
        if !tries.is_empty() {
            html.raw(title);
            for tried in tries {
                trail(html, tried);
            }
            html.raw("</ol></dd></div>");
        }
    }
    if !entry.excluded.is_empty() {
        html.raw("<div><dt>Left out</dt><dd>").text(&left_out(&entry.excluded)).raw("</dd></div>");
    }
    html.raw("</dl>");
}

fn trail(html: &mut Html, tried: &TryView) {
    html.around("<li><bdi>", &tried.backend, "</bdi>");
    if !tried.outrun() {
        html.raw(" ").text(&phrase(&tried.cause));
    }
    if let Some(status) = tried.status {
        html.around(" (", &status.to_string(), ")");
    }
    if tried.cost_usd.0 > Usd::ZERO {
        html.raw(", cost ");
        exact(html, tried.cost_usd);
    }
    html.raw("</li>");
}

fn ending(entry: &EntryView) -> String {
    let word = entry.state.word();
    match (&entry.refusal, entry.status) {
        (Some(reason), _) => format!("{word}: {}", phrase(reason)),
        (None, Some(status)) if entry.state == State::Failed => format!("{word} with status {status}"),
        _ => word.to_owned(),
    }
}

/// `3 no key, 1 below quality`
fn left_out(excluded: &[CountView]) -> String {
    let counts: Vec<String> = excluded.iter().map(|rule| format!("{} {}", rule.count, phrase(&rule.rule))).collect();
    counts.join(", ")
}

/// An amount as people read it, with every digit for machines and for a pointer that rests on it.
pub(super) fn exact(html: &mut Html, amount: Money) -> &mut Html {
    let digits = String::from(amount);
    html.around("<data value=\"", &digits, "\" title=\"$").around("", &digits, "\">").text(&money(amount.0)).raw("</data>")
}

/// The time of day of an instant in RFC 3339.
pub(super) fn clock(at: &str) -> String {
    at.split('T').nth(1).and_then(|time| time.get(..8)).unwrap_or_default().to_owned()
}
