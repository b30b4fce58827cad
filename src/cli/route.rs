//! `tokenbroker route`: what the gateway would do with a chat request, as a table. Nothing is sent, held or booked. It
//! decides as a gateway does that has just started with the state on the disk: nothing is known of backends' health, of
//! warm caches or of who got which share.

mod state;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::HeaderMap;
use jiff::Timestamp;

use self::state::State;
use super::args::{Environment, GatewayArgs};
use super::output::{Exit, Output};
use super::setup::{self, Setup};
use super::table::{Align, Table};
use crate::canonical::Request;
use crate::catalog::Snapshot;
use crate::clock::SystemClock;
use crate::config::Standing;
use crate::frontend;
use crate::pipeline::appraise::limits_of;
use crate::pipeline::asked;
use crate::route::{
    Affinity, Availability, Board, Candidate, Caps, Decision, ExplainedRefusal, Facts, Limits, Plan, PlanError, Usable, Whole,
    explained, resolve,
};
use crate::server::{alias_wishes, routing_settings};
use crate::units::Usd;

/// What `route` takes.
#[derive(Debug, Args)]
pub struct RouteArgs {
    /// A chat completion request in JSON; `-` or nothing reads the standard input.
    #[arg(value_name = "FILE")]
    pub request: Option<PathBuf>,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Decide for this gateway key of the configuration.
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Decide as if every provider had its key.
    #[arg(long)]
    pub all_providers: bool,
    /// Decide without the state in the data directory: nothing is learned, changed by feeds, free or prepaid.
    #[arg(long)]
    pub no_state: bool,
    /// Decide at the prices of this instant (2026-12-01T00:00:00Z) instead of now.
    #[arg(long, value_name = "INSTANT")]
    pub at: Option<Timestamp>,
    /// Print the decision as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs `tokenbroker route`.
pub fn run(args: &RouteArgs, environment: &Environment, output: &mut Output) -> anyhow::Result<Exit> {
    let setup = match setup::load_or_tell(&args.gateway, environment, output)? {
        Ok(setup) => setup,
        Err(exit) => return Ok(exit),
    };
    let Standing { limits, wishes, .. } = standing_of(&setup, args.key.as_deref())?;
    let limits = limits_of(&limits);
    if from_stdin(args.request.as_deref()) && std::io::stdin().is_terminal() {
        output.note("Reading a chat completion request in JSON from the terminal; Ctrl-D ends it.")?;
    }
    let mut request = read(args.request.as_deref(), setup.config.server.max_body_bytes)?;
    request.wishes.or(&wishes);
    let at = args.at.unwrap_or_else(|| SystemClock::shared().wall());
    let (setup, state) = if args.no_state { (setup, State::default()) } else { State::read(setup, at)? };
    for problem in &state.problems {
        output.note(problem)?;
    }
    let decided = decide(&setup, &request, &limits, &state, (args.all_providers, at))?;
    if args.json {
        output.json(&Decision::of(decided.as_ref(), &setup.snapshot))?;
    } else {
        output.line(told(decided.as_ref(), &request, &setup.snapshot))?;
        if decided.is_err() && !args.all_providers && setup.idle().is_some() {
            output.note("\nNo provider has its key here. --all-providers decides as if every one had.")?;
        }
        let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
        output.note(format!("\n{}", state.told()))?;
        output.note(format!("Table {}, prices of {at}. Nothing was sent.", setup.snapshot.version))?;
    }
    Ok(if decided.is_ok() { Exit::Success } else { Exit::NoneAdequate })
}

fn from_stdin(path: Option<&Path>) -> bool {
    path.is_none_or(|path| path == Path::new("-"))
}

/// Reads a request as the gateway would: no larger, no laxer.
fn read(path: Option<&Path>, max_bytes: usize) -> anyhow::Result<Request> {
    let path = path.filter(|path| !from_stdin(Some(path)));
    let name = path.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let source: Box<dyn Read> = match path {
        Some(path) => Box::new(std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?),
        None => Box::new(std::io::stdin()),
    };
    let mut body = Vec::new();
    let bound = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    source.take(bound).read_to_end(&mut body).with_context(|| format!("cannot read {name}"))?;
    if body.len() > max_bytes {
        bail!("{name} is larger than server.max_body_bytes allows ({max_bytes} bytes)");
    }
    frontend::parse(Bytes::from(body), &HeaderMap::new()).map_err(|error| {
        let place = error.position.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
        anyhow::anyhow!("{name}{place}: {error}")
    })
}

fn standing_of(setup: &Setup, key: Option<&str>) -> anyhow::Result<Standing> {
    let Some(name) = key else {
        return Ok(Standing::of_everybody(&setup.config));
    };
    let Some(key) = setup.config.keys.iter().find(|key| key.name.as_str() == name) else {
        let known: Vec<&str> = setup.config.keys.iter().map(|key| key.name.as_str()).collect();
        bail!(
            "the configuration has no key {name:?}; it has: {}",
            if known.is_empty() { "none".into() } else { known.join(", ") }
        );
    };
    key.standing(&setup.config).map_err(|(payer, left)| anyhow::anyhow!("{name}: {left}, by {payer}"))
}

fn decide(
    setup: &Setup,
    request: &Request,
    limits: &Limits,
    state: &State,
    (all, at): (bool, Timestamp),
) -> anyhow::Result<Result<Whole, PlanError>> {
    let snapshot = &setup.snapshot;
    let routing = &setup.config.routing;
    let target = resolve(&request.model, snapshot, &routing.aliases)?;
    let appraisal = state.appraise((request, &target), snapshot, at);
    let availability: Vec<Availability> = snapshot
        .providers()
        .iter()
        .map(|provider| if all || setup.standing(provider).is_on() { Availability::Ready } else { Availability::NoKey })
        .collect();
    let usable = Usable::of(snapshot, availability);
    let facts = Facts {
        ask: &asked(request, &alias_wishes(&setup.config)),
        snapshot,
        board: &Board::of(snapshot, at),
        target: &target,
        input: &appraisal.input,
        expected_output: appraisal.output,
        limits,
        usable: &usable,
        health: &[],
        learned: &appraisal.learned,
        affinity: &Affinity::default(),
        caps: &Caps::NONE,
        explore: None,
        allowances: &state.allowances,
        at,
        settings: &routing_settings(&setup.config),
    };
    Ok(explained(&facts))
}

/// What the table's short words mean.
const LEGEND: &str = "
ask: the order of attempts, - is not in the plan; expected, at most: US dollars;
input, output: tokens; quality: 0 to 100, ? is not known and counts as the lowest";

fn told(decided: Result<&Whole, &PlanError>, request: &Request, snapshot: &Snapshot) -> String {
    let decision = Decision::of(decided, snapshot);
    let chosen = decision.chosen.as_ref().map_or("nothing", |chosen| &chosen.backend);
    let mut parts = vec![format!("{} -> {chosen}\n{}", request.model, decision.reason)];
    parts.extend(decided.ok().map(|whole| format!("{}\n{LEGEND}", candidates(&whole.plan, snapshot))));
    if !decision.rejected.is_empty() {
        parts.push(format!("Left out:\n{}", left_out(&decision.rejected)));
    }
    parts.join("\n\n")
}

/// Each that a rule left out, and behind them what is not set up here: a line for all that a provider has of it.
fn left_out(rejected: &[ExplainedRefusal]) -> Table {
    let (not_set_up, unfit): (Vec<_>, Vec<_>) =
        rejected.iter().partition(|refusal| matches!(refusal.rule, "no_key" | "disabled"));
    let mut table = Table::new([Align::Left, Align::Left]);
    for refusal in unfit {
        table.row([format!("  {}", refusal.backend), refusal.why.clone()]);
    }
    let alike = |a: &&ExplainedRefusal, b: &&ExplainedRefusal| a.why == b.why && provider_of(a) == provider_of(b);
    let mut rest = not_set_up;
    rest.sort_by_key(|refusal| (provider_of(refusal), &refusal.why));
    for group in rest.chunk_by(alike) {
        let shown = match group {
            [one] => format!("  {}", one.backend),
            several => format!("  {}: {} models", provider_of(several[0]), several.len()),
        };
        table.row([shown, group[0].why.clone()]);
    }
    table
}

/// The provider of a backend that was left out.
fn provider_of(refusal: &ExplainedRefusal) -> &str {
    refusal.backend.split_once('/').map_or(refusal.backend.as_str(), |(provider, _)| provider)
}

/// The adequate backends, the best first, with the place that the plan gives each.
fn candidates(plan: &Plan, snapshot: &Snapshot) -> Table {
    let places: BTreeMap<_, _> = plan.root.attempts().zip(1..).map(|(attempt, place)| (attempt.backend, place)).collect();
    let best = plan.chosen().map_or(Usd::ZERO, |candidate| candidate.quote.expected);
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([right, left, right, right, right, right, right, right, left]);
    table.row(["ask", "backend", "expected", "", "at most", "input", "output", "quality", "region"]);
    for candidate in &plan.candidates {
        let backend = snapshot.backend(candidate.backend);
        table.row([
            places.get(&candidate.backend).map_or_else(|| "-".to_owned(), |place| format!("{place}.")),
            backend.id.to_string(),
            candidate.quote.expected.to_string(),
            dearer(candidate, best),
            candidate.quote.worst.to_string(),
            candidate.quote.usage.input().to_string(),
            candidate.quote.usage.output.to_string(),
            backend.quality.score.map_or_else(|| "?".to_owned(), |score| score.to_string()),
            snapshot.provider_of(backend).region.clone(),
        ]);
    }
    table
}

/// How much dearer than the best a candidate is, in per cent.
fn dearer(candidate: &Candidate, best: Usd) -> String {
    let more = (candidate.quote.expected - best).pico().saturating_mul(100);
    match more.checked_div(best.pico()) {
        Some(percent) if more != 0 => format!("{percent:+}%"),
        Some(_) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::testing::captured;
    use crate::cli::setup::testing::{TABLE, args, environment};

    const HELLO: &str = r#"{"model":"auto","messages":[{"role":"user","content":"hello"}],"max_tokens":10}"#;

    fn check(config: &str, body: &str, options: impl FnOnce(&mut RouteArgs)) -> (Exit, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("request.json");
        std::fs::write(&file, body).unwrap();
        let gateway = args(directory.path(), config, TABLE);
        let at = Some("2026-11-22T00:00:00Z".parse().unwrap());
        let mut args =
            RouteArgs { request: Some(file), gateway, key: None, all_providers: false, no_state: true, at, json: false };
        options(&mut args);
        captured(|output| run(&args, &environment(&[("FAR_KEY", "k")]), output))
    }

    #[test]
    fn the_decision_is_a_table_of_who_is_asked_and_who_is_left_out() {
        let (exit, out, err) = check("", HELLO, |_| {});
        assert_eq!(exit, Exit::Success, "{out}{err}");
        assert!(out.starts_with("auto -> far/m\n"), "{out}");
        assert!(out.contains(" 1.  far/m") && out.contains("Left out:\n  near/m"), "{out}");
        assert!(err.ends_with("Nothing was sent.\n"), "{err}");
    }

    #[test]
    fn what_is_not_set_up_takes_one_line_for_a_provider_and_comes_last() {
        let refusal = |backend: &str, rule, why: &str| ExplainedRefusal { backend: backend.into(), rule, why: why.into() };
        let table = left_out(&[
            refusal("a/x", "no_key", "its key is missing"),
            refusal("a/y", "disabled", "old"),
            refusal("a/z/z", "no_key", "its key is missing"),
            refusal("b/w", "context_too_small", "small"),
            refusal("b/v", "context_too_small", "small"),
        ]);
        let lines = ["  b/w          small", "  b/v          small", "  a: 2 models  its key is missing", "  a/y          old"];
        assert_eq!(table.to_string(), lines.join("\n"));
    }

    #[test]
    fn without_any_key_one_is_told_how_to_decide_all_the_same() {
        let shown = |variables: &[(&str, &str)], all_providers: bool| {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("request.json");
            std::fs::write(&file, HELLO.replace("auto", "near/m")).unwrap();
            let gateway = args(directory.path(), "", TABLE);
            let args =
                RouteArgs { request: Some(file), gateway, key: None, all_providers, no_state: true, at: None, json: false };
            captured(|output| run(&args, &environment(variables), output)).2
        };
        assert!(shown(&[], false).contains("--all-providers decides"));
        assert!(
            !shown(&[("FAR_KEY", "k")], false).contains("--all-providers decides"),
            "one has its key, and it is not asked for"
        );
        assert!(!shown(&[], true).contains("--all-providers decides"));
    }

    #[test]
    fn with_every_provider_the_free_one_wins() {
        let (_, out, _) = check("", HELLO, |args| args.all_providers = true);
        assert!(out.starts_with("auto -> near/m\n") && !out.contains("Left out"), "{out}");
    }

    #[test]
    fn a_script_reads_the_decision_and_the_exit_code() {
        let (exit, out, _) = check("", HELLO, |args| args.json = true);
        let decision: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, decision["chosen"]["backend"].as_str()), (Exit::Success, Some("far/m")));
        let before_the_price = Some("2025-01-01T00:00:00Z".parse().unwrap());
        let (exit, out, _) = check("", HELLO, |args| (args.json, args.at) = (true, before_the_price));
        let decision: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((exit, &decision["chosen"]), (Exit::NoneAdequate, &serde_json::Value::Null));
        assert_eq!(decision["rejected"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_key_narrows_the_choice() {
        let config =
            "[keys.team]\nsha256 = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\nregions = [\"local\"]\n";
        assert_eq!(check(config, HELLO, |_| {}).0, Exit::Success);
        assert_eq!(check(config, HELLO, |args| args.key = Some("team".into())).0, Exit::NoneAdequate);
        let (exit, _, err) = check(config, HELLO, |args| args.key = Some("taem".into()));
        assert!(exit == Exit::Failure && err.contains("it has: team"), "{err}");
    }

    #[test]
    fn a_request_that_the_gateway_would_refuse_is_refused_with_its_place() {
        let (exit, _, err) = check("", "{\"model\":\"auto\",\n\"messages\":]}", |_| {});
        assert!(exit == Exit::Failure && err.contains("request.json:2:"), "{err}");
        let (exit, _, err) = check("", &HELLO.replace("auto", "mm"), |_| {});
        assert!(exit == Exit::Failure && err.contains("`mm` is not known"), "{err}");
        let (exit, _, err) = check(&format!("[server]\nmax_body_bytes = {}\n", 1024), &" ".repeat(2000), |_| {});
        assert!(exit == Exit::Failure && err.contains("larger than server.max_body_bytes"), "{err}");
    }
}
