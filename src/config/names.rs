//! Names in the configuration that belong to the table: providers and regions of keys, the targets of aliases, the backends
//! of deployments, the baseline, whose tokenizers are given. The configuration alone cannot judge them, so the caller says what
//! the table knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::load::document;
use super::reference::{ALIAS_TARGET, TOKENIZER_NAME};
use crate::canonical::QualityTier;
use crate::catalog::TokenizerFamily;
use crate::document::{Problem, Section, nearest};
use crate::meter::exact::wrong_with;
use crate::units::glob;

/// What the table knows, by the names that a configuration may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known<'n> {
    pub providers: BTreeSet<&'n str>,
    pub regions: BTreeSet<&'n str>,
    pub jurisdictions: BTreeSet<&'n str>,
    pub owners: BTreeSet<&'n str>,
    /// `provider/model`, exactly.
    pub backends: BTreeSet<&'n str>,
    /// Models and their aliases in the table.
    pub models: BTreeSet<&'n str>,
}

/// Every name in the configuration that the table does not know, with its place. The arguments are those of
/// [`Config::load`](super::Config::load).
pub fn unknown_names(file: Option<(&str, &str)>, environment: &BTreeMap<String, String>, known: &Known<'_>) -> Vec<Problem> {
    let document = document(file, environment);
    check(&document.root(), known);
    document.into_problems()
}

fn check(root: &Section<'_, '_>, known: &Known<'_>) {
    for of in ["keys", "teams", "projects"] {
        if let Some(all) = root.named_section(of) {
            all.names().filter_map(|name| all.named_section(name)).for_each(|one| check_limits(&one, known));
        }
    }
    if let Some(gateway) = root.named_section("gateway") {
        check_limits(&gateway, known);
    }
    if let Some(aliases) = root.named_section("aliases") {
        for name in aliases.names() {
            if let Some(target) = aliases.named_text(name).filter(|target| !is_target(target, known)) {
                let all = known.backends.union(&known.models).copied();
                aliases.problem(
                    name,
                    unknown("model or backend", &target, all),
                    "`auto`, `auto:QUALITY`, a model or provider/model of the table",
                );
            }
        }
    }
    if let Some(deployments) = root.named_section("deployments") {
        for name in deployments.names().filter(|name| !known.backends.contains(name)) {
            let backends = known.backends.iter().copied();
            deployments.problem(name, unknown("backend", name, backends), "provider/model, as in the table");
        }
    }
    if let Some(tokenizers) = root.named_section("tokenizers") {
        for name in tokenizers.names() {
            check_tokenizer(&tokenizers, name, known);
        }
    }
    if root.has("portfolio") {
        root.sections("portfolio").iter().for_each(|cap| check_cap(cap, known));
    }
    if let Some(routing) = root.named_section("routing")
        && let Some(baseline) = routing.text("baseline")
        && baseline.contains('/')
        && !known.backends.contains(baseline.as_str())
    {
        routing.problem(
            "baseline",
            unknown("backend", &baseline, known.backends.iter().copied()),
            "provider/model, as in the table",
        );
    }
}

/// A file is read, so that one that is no tokenizer is found now and not when it is needed.
fn check_tokenizer(tokenizers: &Section<'_, '_>, name: &str, known: &Known<'_>) {
    let families = TokenizerFamily::WORDS.map(|(_, word)| word);
    if !families.contains(&name) && !known.models.contains(name) && !known.backends.contains(name) {
        let all = known.backends.union(&known.models).copied().chain(families);
        tokenizers.problem(name, unknown("tokenizer family, model or backend", name, all), TOKENIZER_NAME);
    }
    let file = tokenizers.named_text(name).map(PathBuf::from);
    if let Some(wrong) = file.and_then(|file| wrong_with(&file)) {
        tokenizers.problem(name, wrong, "the path of a tokenizer.json in Hugging Face's format");
    }
}

fn check_cap(cap: &Section<'_, '_>, known: &Known<'_>) {
    let names = match cap.text("by").as_deref() {
        Some("provider") => &known.providers,
        Some("owner") => &known.owners,
        Some("jurisdiction") => &known.jurisdictions,
        _ => return,
    };
    if let Some(name) = cap.text("name").filter(|name| !names.contains(name.as_str())) {
        let list = names.iter().copied().collect::<Vec<_>>().join(", ");
        cap.problem("name", unknown("such name", &name, names.iter().copied()), list);
    }
}

/// What a key, a team, a project or the gateway may ask for, and wishes.
fn check_limits(section: &Section<'_, '_>, known: &Known<'_>) {
    check_lists(section, "exclude_providers", known);
    check_models(section, known);
    if let Some(target) = section.text("degrade_to").filter(|target| !is_target(target, known)) {
        let all = known.backends.union(&known.models).copied();
        section.problem("degrade_to", unknown("model or backend", &target, all), ALIAS_TARGET);
    }
    if section.has("wishes")
        && let Some(wishes) = section.named_section("wishes")
    {
        check_lists(&wishes, "exclude", known);
    }
}

fn check_lists(section: &Section<'_, '_>, exclude: &'static str, known: &Known<'_>) {
    check_all(section, "providers", "provider", &known.providers);
    check_all(section, exclude, "provider", &known.providers);
    check_all(section, "regions", "region", &known.regions);
    check_all(section, "jurisdictions", "jurisdiction", &known.jurisdictions);
}

fn check_all(section: &Section<'_, '_>, member: &'static str, what: &str, known: &BTreeSet<&str>) {
    for name in section.texts(member).iter().filter(|name| !known.contains(name.as_str())) {
        let list = known.iter().copied().collect::<Vec<_>>().join(", ");
        section.problem(member, unknown(what, name, known.iter().copied()), list);
    }
}

/// A pattern that says no model lets nobody have anything.
fn check_models(key: &Section<'_, '_>, known: &Known<'_>) {
    for pattern in key.texts("models") {
        let mut names = known.models.union(&known.backends);
        if !names.any(|name| glob::matches(&pattern, name)) {
            let all = known.backends.union(&known.models).copied();
            key.problem(
                "models",
                unknown("model", &pattern, all),
                "models of the table, or provider/model, with `*` for any run of characters",
            );
        }
    }
}

fn is_target(target: &str, known: &Known<'_>) -> bool {
    let auto = match target.strip_prefix("auto") {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(|tier| QualityTier::from_word(tier).is_some()),
        None => false,
    };
    auto || known.backends.contains(target) || known.models.contains(target)
}

fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let hint = nearest(name, known).map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
    format!("the table knows no {what} {name:?}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, expected: &[&str]) {
        let known = Known {
            providers: ["deepseek", "openai"].into(),
            regions: ["CN", "US"].into(),
            jurisdictions: ["CN", "US"].into(),
            owners: ["OpenAI", "Hangzhou DeepSeek"].into(),
            backends: ["openai/gpt-5"].into(),
            models: ["gpt-5", "lab/fog"].into(),
        };
        let found = unknown_names(Some(("t.toml", text)), &BTreeMap::new(), &known);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\nlacks\n{expected}");
        }
    }

    #[test]
    fn a_name_that_the_table_lacks_is_a_problem_with_its_place() {
        check_text("[keys.a]\nproviders = [\"openai\"]\nregions = [\"CN\", \"US\"]\n", &[]);
        check_text(
            "[keys.a]\nproviders = [\"depseek\"]\nexclude_providers = [\"x\"]\nregions = [\"cn\"]\n",
            &[
                "t.toml:2:13: keys.a.providers: the table knows no provider \"depseek\" (did you mean \"deepseek\"?)",
                "t.toml:3:21: keys.a.exclude_providers: the table knows no provider \"x\"; accepted: deepseek, openai",
                "t.toml:4:11: keys.a.regions: the table knows no region \"cn\" (did you mean \"CN\"?)",
            ],
        );
        check_text(
            "[teams.a.wishes]\nexclude = [\"depseek\"]\n[projects.b]\nregions = [\"EU\"]\n[gateway]\nproviders = [\"opnai\"]\n",
            &[
                "t.toml:2:11: teams.a.wishes.exclude: the table knows no provider \"depseek\" (did you mean \"deepseek\"?)",
                "t.toml:4:11: projects.b.regions: the table knows no region \"EU\"",
                "t.toml:6:13: gateway.providers: the table knows no provider \"opnai\" (did you mean \"openai\"?)",
            ],
        );
        check_text("[keys.a]\nmodels = [\"gpt-*\", \"openai/*\", \"lab/fog\"]\n", &[]);
        check_text(
            "[keys.a]\nmodels = [\"gtp-5\", \"*\"]\n",
            &["t.toml:2:10: keys.a.models: the table knows no model \"gtp-5\" (did you mean \"gpt-5\"?)"],
        );
        check_text("[routing]\nbaseline = \"openai/gpt-5\"\n", &[]);
        check_text("[routing]\nbaseline = \"openai/gpt-6\"\n", &["t.toml:2:12: routing.baseline: the table knows no backend"]);
    }

    #[test]
    fn a_deployment_is_of_a_backend_that_the_table_has() {
        check_text("[deployments]\n\"openai/gpt-5\" = \"chat\"\n", &[]);
        check_text(
            "[deployments]\n\"openai/gtp-5\" = \"chat\"\n",
            &[
                "t.toml:2:18: deployments.openai/gtp-5: the table knows no backend \"openai/gtp-5\" (did you mean \"openai/gpt-5\"?)",
            ],
        );
    }

    #[test]
    fn a_tokenizer_is_of_something_known_and_can_be_read() {
        check_text(
            "[tokenizers]\nqwen36 = \"none.json\"\n",
            &[
                "t.toml:2:10: tokenizers.qwen36: ",
                "t.toml:2:10: tokenizers.qwen36: the table knows no tokenizer family, model or backend \"qwen36\" (did you mean \"qwen35\"?)",
            ],
        );
        check_text("[tokenizers]\n\"openai/gpt-5\" = \"none.json\"\n", &["t.toml:2:18: tokenizers.openai/gpt-5: "]);
    }

    #[test]
    fn a_cap_names_what_the_table_has() {
        let cap = |by: &str, name: &str| format!("[[portfolio]]\nby = {by:?}\nname = {name:?}\n");
        check_text(&(cap("provider", "openai") + &cap("owner", "OpenAI") + &cap("jurisdiction", "CN")), &[]);
        check_text(
            &(cap("provider", "OpenAI") + &cap("owner", "OpenAl") + &cap("jurisdiction", "CH")),
            &[
                "t.toml:3:8: portfolio[0].name: the table knows no such name \"OpenAI\"",
                "t.toml:6:8: portfolio[1].name: the table knows no such name \"OpenAl\" (did you mean \"OpenAI\"?)",
                "t.toml:9:8: portfolio[2].name: the table knows no such name \"CH\"",
            ],
        );
    }

    #[test]
    fn an_alias_leads_to_what_a_client_could_ask_for() {
        check_text("[aliases]\na = \"auto\"\nb = \"auto:premium\"\nc = \"gpt-5\"\nd = \"openai/gpt-5\"\ne = \"lab/fog\"\n", &[]);
        check_text(
            "[aliases]\na = \"auto:best\"\n",
            &["t.toml:2:5: aliases.a: the table knows no model or backend \"auto:best\""],
        );
        check_text(
            "[aliases]\na = \"gtp-5\"\n",
            &["t.toml:2:5: aliases.a: the table knows no model or backend \"gtp-5\" (did you mean \"gpt-5\"?)"],
        );
    }
}
