//! `scripts/table`, which makes the shipped table: that it makes it again, that it notices a difference, and that on small
//! invented facts it does what the table's header promises.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::canonical::conversation::Effort;
use crate::canonical::{Feature, SchemaBy};
use crate::catalog::capability::{ThinkingEffort, ThinkingSwitch};
use crate::catalog::price::PriceRow;
use crate::catalog::{Backend, Reasoning, Snapshot};
use crate::units::{BilledAt, Cell, Currency, Sheet, TokenPrice, Tokens};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SMALL: &str = "tests/fixtures/facts";

/// What the tool says when it is asked to check a table; `None`, and a line that says so, where it cannot run.
fn checked(facts: &Path, overlay: &Path, table: &Path) -> Option<(bool, String)> {
    let python = Command::new("python3").arg("--version").output();
    if !facts.is_dir() || python.is_err() {
        println!("skipped: not present (python3, {})", facts.display());
        return None;
    }
    let mut command = Command::new("python3");
    command.arg(Path::new(ROOT).join("scripts/table")).arg("--check");
    let output = command.arg("--facts").arg(facts).arg("--overlay").arg(overlay).arg("--table").arg(table).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said))
}

fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// The small facts with one place of one file changed, in a folder of their own.
fn changed(name: &str, old: &str, new: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(file(SMALL)).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        let mine = entry.file_name() == name;
        assert!(!mine || text.contains(old), "{name} has no {old:?}");
        let text = if mine { text.replacen(old, new, 1) } else { text };
        fs::write(folder.path().join(entry.file_name()), text).unwrap();
    }
    folder
}

/// Changes one place and expects the check to fail and to say this.
fn refuses(name: &str, old: &str, new: &str, expected: &str) {
    let folder = changed(name, old, new);
    let at = |name: &str| folder.path().join(name);
    let Some((fine, said)) = checked(folder.path(), &at("overlay.toml"), &at("table.toml")) else { return };
    assert!(!fine && said.contains(expected) && !said.contains("Traceback"), "{new:?}: expected {expected:?} in\n{said}");
}

#[test]
fn the_shipped_table_is_what_the_facts_and_the_overlay_make() {
    let facts = file("../shared/facts");
    let Some((fine, said)) = checked(&facts, &file("scripts/table-overlay.toml"), &file("providers.toml")) else { return };
    assert!(fine, "{said}");
}

#[test]
fn the_small_table_is_what_its_facts_make_and_any_difference_is_noticed() {
    let small = |name: &str| file(SMALL).join(name);
    let Some((fine, said)) = checked(&file(SMALL), &small("overlay.toml"), &small("table.toml")) else { return };
    assert!(fine, "{said}");
    assert!(said.contains("west/stranger: no family of the overlay fits"), "{said}");
    refuses("table.toml", "cache_read = 0.0001", "cache_read = 0.0002", "+cache_read = 0.0001");
    refuses("prices.json", "\"output\": 8.0}},", "\"output\": 9.0}},", "cache_read = 0.3, output = 9 }");
    refuses("overlay.toml", "Reviewed.", "Doubtful.", "+# Doubtful.");
}

#[test]
fn a_judgement_does_not_outlive_its_fact() {
    refuses("overlay.toml", "east/org/Jade", "east/org/Jasper", "models.'east/org/Jasper'");
    refuses("overlay.toml", "[providers.west]", "[providers.waste]", "providers.waste");
    refuses("overlay.toml", "list = ", "lost = ", "no words for the source 'list'");
    let calendar = "the calendar 'east-peak' is not what the facts say";
    refuses("prices.json", "\"multiplier\": 2.0", "\"multiplier\": 3.0", calendar);
    refuses("prices.json", "[\"mon\", \"tue\"], \"multiplier", "[\"mon\"], \"multiplier", calendar);
    refuses("overlay.toml", "to = \"12:00\"", "to = \"13:00\"", calendar);
    refuses("overlay.toml", "calendar = \"east-peak\"", "", "the overlay names no calendar for it");
    refuses("prices.json", "east_days_off\": {\"dates", "days_off\": {\"dates", "the facts have no calendar 'east_days_off'");
    refuses("overlay.toml", "2024-05-20\", \"Opal", "2024-05-21\", \"Opal", "stands nowhere: east 2024-05-20 Opal");
    refuses("overlay.toml", "model = \"summit\"\nwhy", "model = \"summits\"\nwhy", "no_changes of west/summits");
}

#[test]
fn what_is_another_models_own_name_is_no_alias() {
    let folder = changed("prices.json", "\"aliases\": [\"jade-chat\"", "\"aliases\": [\"summit\", \"jade-chat\"");
    let at = |name: &str| folder.path().join(name);
    let Some((fine, said)) = checked(folder.path(), &at("overlay.toml"), &at("table.toml")) else { return };
    assert!(fine, "{said}");
}

#[test]
fn a_judgement_that_nobody_would_read_is_refused() {
    let site = "abilities = { forced_tool = true }";
    refuses(
        "overlay.toml",
        site,
        "abilties = { forced_tool = true }",
        "providers.'west' has an unknown member 'abilties' (did you mean",
    );
    refuses(
        "overlay.toml",
        site,
        "abilities = { any_tool = true }",
        "providers.'west'.abilities has an unknown member 'any_tool'",
    );
    refuses("overlay.toml", "[providers.west]", "[limits]\n[providers.west]", "the overlay has an unknown member 'limits'");
    refuses("overlay.toml", "owner = \"West Company\"", "", "providers.'west' lacks 'owner'");
    refuses("overlay.toml", "south = ", "soth = ", "unlisted.soth");
}

#[test]
fn of_two_entries_of_one_name_none_is_taken() {
    refuses("prices.json", "\"id\": \"gift\"", "\"id\": \"foreign\"", "more than one entry of east/foreign");
    refuses("providers.json", "\"id\": \"south\"", "\"id\": \"west\"", "more than one entry of west");
    refuses("overlay.toml", "\"summit-local\"", "\"old\"", "more than one entry of west/old");
}

#[test]
fn a_file_that_cannot_be_read_is_told_in_a_line() {
    refuses("prices.json", "\"models\"", "models", "prices.json: Expecting property name");
    refuses("overlay.toml", "[providers.west]", "[providers.west", "overlay.toml: Expected ']'");
    refuses("prices.json", "\"max_output\": null,", "", "east/org/Jade: neither the facts nor the overlay tell 'max_output'");
    for name in ["prices.json", "providers.json", "fx.csv", "overlay.toml", "table.toml"] {
        let folder = changed("", "", "");
        let at = |name: &str| folder.path().join(name);
        fs::remove_file(at(name)).unwrap();
        let Some((fine, said)) = checked(folder.path(), &at("overlay.toml"), &at("table.toml")) else { return };
        let told = said.lines().last().unwrap_or_default();
        assert!(!fine && told.contains("cannot read") && told.contains(name), "{name}: {said}");
        assert!(!said.contains("Traceback"), "{said}");
    }
}

#[test]
fn what_is_made_reads_as_the_header_promises() {
    let text = fs::read_to_string(file(SMALL).join("table.toml")).unwrap();
    let table = Snapshot::parse("table.toml", &text).unwrap();
    let backend = |id: &str| table.backend_named(id).unwrap();
    let last = |id: &str| backend(id).prices.rows().last().unwrap();
    let figures = |cell: &Cell| {
        let t = cell.tariff;
        [t.input, t.cache_read, t.cache_write, t.cache_write_long, t.output].map(TokenPrice::to_per_million).join(" ")
    };
    let cells = |sheet: &Sheet| sheet.cells().iter().map(figures).collect::<Vec<_>>();
    // No cheaper cache than the site's rule, no free writes; with thinking on, nothing is told above the first edge.
    let jade = last("east/org/Jade");
    assert_eq!(cells(jade.list()), ["1.5 0.3 1.5 1.5 2", "3 0.6 3 3 4", "1.5 0.3 1.5 1.5 8"]);
    let of_jade = |input, thinking| jade.list().cell(Tokens::new(input), Tokens::new(9), thinking).map(figures);
    assert_eq!(of_jade(32_001, true), None);
    assert_eq!(of_jade(32_001, false).as_deref(), Some("3 0.6 3 3 4"));
    assert_eq!(of_jade(32_000, true).as_deref(), Some("1.5 0.3 1.5 1.5 8"));
    assert_eq!((jade.billed_at, jade.calendar.as_ref().unwrap().factors().len()), (BilledAt::Completion, 2));
    assert_eq!(cells(last("east/cells").list()), ["2 2 2 2 8", "3 3 3 3 14", "4 4 4 4 16"]);
    assert_eq!(cells(last("west/summit").list()), ["1.25 0.0001 1.25 1.25 10.5"]);
    assert_eq!(last("east/foreign").currency(), Currency::Usd);
    // Batch at its own prices, cached reads at the full one; writes for an hour at their multiple of the input.
    let ridge = last("west/summit-ridge");
    assert_eq!(cells(ridge.list()), ["2 0.2 2.5 4 4", "4 0.4 5 8 6"]);
    assert_eq!(cells(&ridge.batch[0]), ["1 0.2 1 1 2"]);
    assert!(jade.batch.is_empty());

    let bounds = |b: &Backend| (b.limits.max_output.get(), b.limits.priced_input.map(Tokens::get));
    assert_eq!(bounds(backend("east/org/Jade")), (25_000, None));
    assert_eq!(bounds(backend("west/summit")), (128_000, Some(272_000)));
    let jade = backend("east/org/Jade");
    assert_eq!((jade.model.as_str(), jade.reasoning, jade.quality.score), ("jade", Reasoning::Switchable, Some(48)));
    assert_eq!(jade.aliases, ["jade-chat"]);
    let forced = |id: &str| backend(id).features.contains(Feature::ForcedTool);
    assert!(forced("east/org/Jade") && forced("west/old") && table.providers()[0].quirks.required_is_any);
    let sites = [0, 1].map(|n: usize| table.providers()[n].quirks);
    assert_eq!(sites.map(|quirks| quirks.thinking_switch), [ThinkingSwitch::Thinking; 2]);
    assert_eq!(sites.map(|quirks| quirks.thinking_effort), [ThinkingEffort::Beside, ThinkingEffort::Instead]);
    assert_eq!(["west/old", "west/summit"].map(|id| backend(id).steering.switch), [Some(ThinkingSwitch::None), None]);
    let steering = backend("west/summit").steering;
    assert_eq!((steering.efforts.fitting(Effort::Low), steering.budget, steering.sampling), (Some(Effort::High), None, true));
    assert!(jade.features.contains(Feature::JsonObject) && jade.features.contains(Feature::JsonSchema));
    // By hand where the provider has none, by a tool where it has no mode for JSON, and not where a person says no.
    let ways = ["east/org/Jade", "west/summit", "west/summit-ridge", "west/old"].map(|id| backend(id).schema_by);
    assert_eq!(ways, [SchemaBy::JsonObject, SchemaBy::Native, SchemaBy::Tool, SchemaBy::Native]);
    assert_eq!([backend("west/summit").quality.score, backend("west/old").quality.score], [Some(52), Some(64)]);

    // What was before a step, from the step before it. Nothing is known before a price of nothing, what the overlay calls no
    // change is none, and where a catalogue only filled a gap the price began before.
    let begins = |id: &str| {
        let day = |row: &PriceRow| row.from.map_or("-".to_owned(), |from| from.to_string()[5..10].to_owned());
        backend(id).prices.rows().iter().map(day).collect::<Vec<_>>()
    };
    assert_eq!(begins("west/old"), ["07-01", "08-01"]);
    assert_eq!(begins("west/summit"), ["09-04"]);
    assert_eq!(begins("west/summit-ridge"), ["-", "06-01", "08-01"]);
    assert_eq!(begins("east/org/Jade"), ["-", "08-01", "09-01"]);
    assert_eq!(begins("east/gift"), ["-", "05-19"]);
    // The tiers of the first price are not known.
    let first = &backend("west/summit-ridge").prices.rows()[0];
    assert_eq!((cells(first.list()), first.list().priced_input().get()), (vec!["4 0.4 4 4 8".to_owned()], 200_000));
    let step = &backend("east/org/Jade").prices.rows()[1];
    assert_eq!((step.currency(), step.calendar.is_some()), (Currency::Usd, true));
    assert_eq!(table.past.iter().map(|past| past.model.as_str()).collect::<Vec<_>>(), ["Opal", "windowless"]);
    assert_eq!(
        table.annotations.iter().map(|a| a.text.as_str()).collect::<Vec<_>>(),
        ["input 0.5 CNY per million tokens; -97 %; of one model"]
    );

    let off = |id: &str| backend(id).disabled.is_some();
    assert_eq!(
        ["east/foreign", "east/gift", "west/old", "west/unpriced", "west/summit"].map(off),
        [true, true, true, true, false]
    );
    let west = table.providers().iter().find(|p| p.id == "west").unwrap();
    assert!(west.quirks.developer_role && west.quirks.reasoning_outside_output);
    assert_eq!((west.disabled.as_deref(), west.base_url.as_str()), (None, "https://{resource}.west.example/v1"));
    assert_eq!(west.placeholders, [("resource".to_owned(), "WEST_RESOURCE_NAME".to_owned())]);
}
