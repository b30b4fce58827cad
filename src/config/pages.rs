//! What the settings say about themselves, as two files: `docs/configuration.md` and `config/tokenbroker.toml`, a
//! configuration in which everything stands and nothing is switched on. Both are written by `scripts/docs` and held to
//! the code by a test here, so that neither is ever edited.

use super::load::PREFIX;
use super::reference::{Chapter, Entry, chapters};
use super::setting::Applies;

const COMMENT_WIDTH: usize = 116;

const EXAMPLE_HEAD: &str = "\
# Configuration of tokenbroker: an example in which every setting stands with its default, switched off by `# `.
# What follows a value is what is accepted there, and whether a change of it waits for a restart.
#
#   tokenbroker check --config config/tokenbroker.toml    finds every problem at once
#   tokenbroker serve --config config/tokenbroker.toml    runs the gateway
#
# Nothing is read unless it is named so, or by TOKENBROKER_CONFIG=config/tokenbroker.toml.
#
# Every setting can be given by a variable instead, which wins over the file: TOKENBROKER__SERVER__LISTEN=0.0.0.0:8080,
# TOKENBROKER__KEYS__TEAM__SHA256=..., lists as TOML: TOKENBROKER__KEYS__TEAM__REGIONS='[\"EU\", \"local\"]'.
# Keys of providers do not belong here: they come from the variable that the table names (`api_key_env`), or from the
# file that the same name with `_FILE` points to.
#
# This file is written by scripts/docs from the code; docs/configuration.md says the same at more length.
";

const PAGE_HEAD: &str = "\
# Configuration

<!-- Written by scripts/docs from src/config/reference.rs: change it there. -->

No configuration is needed: without any, tokenbroker listens on loopback, reads `providers.toml` in its working directory and uses the
providers whose keys are set. This page has every setting; [config/tokenbroker.toml](../config/tokenbroker.toml) has them as a file to copy from.

## Where settings come from

From the weakest to the strongest: the default; the file that `--config FILE` or the variable `TOKENBROKER_CONFIG` names (none is read
unasked); a variable; an option of the command line (`tokenbroker serve --help` lists them).

- The variable of a setting is its path in capitals behind `TOKENBROKER__`, with two underscores for each dot: `server.listen` is
  `TOKENBROKER__SERVER__LISTEN`. Lists are written as TOML: `TOKENBROKER__KEYS__TEAM__REGIONS='[\"EU\", \"local\"]'`.
- A misspelt name is an error, in the file and in a variable. All problems are told at once, each with its place and with what would be
  accepted:

```sh
tokenbroker check --config config/tokenbroker.toml
```

- `TOKENBROKER_LOG` sets what is logged, by level (`debug`) or by module (`info,tokenbroker::dispatch=debug`), and wins over `log.level`.
- Keys of providers are no settings. Each comes from the variable that the table names in `api_key_env`, such as `DEEPSEEK_API_KEY`, or from
  the file that the same name with `_FILE` points to. So does what belongs into an address that is not the same for everybody
  (`https://{resource}.example.com`): the table names its variable in `placeholders`. A provider that lacks either is off, and `check`
  says what it lacks. A provider whose requests can be signed (`sigv4` in the table: AWS Bedrock) does without a key where the variables
  named there are set; a key that is there is sent, and nothing signed. Temporary credentials belong in files, which are read anew. `HTTPS_PROXY` and its like are not read.
- `tokenbroker settings` prints the example file of the very version that you run.

## When a change counts

A setting marked *on reload* counts as soon as the running gateway has read its files anew, which is all or nothing: with a problem in
any of them, what was in force stays in force, and the log, `/readyz` and the metrics say so. It reads them when they change, on SIGHUP
and on `POST /reload` of the operations listener, and with them the table, the files that `sha256_file` names and those of the providers'
keys. A setting marked *on restart* cannot change that way: while it differs, nothing else is applied either, and the problem names it.
Variables and options are those of the process: they change with a restart only, and win over the file in a reload too.

## What is no conversation, in the table

Models that are asked for something else than conversations are rows of the table that say what they serve; how a row of a provider is
written at all, [CONTRIBUTING.md](../CONTRIBUTING.md#adding-a-provider) shows. Such a row is asked under its provider's address of OpenAI's
shape, by its model's name only. The shipped table has models of embeddings; the others are for your own table, at your own prices:

```toml
[providers.example]
name = \"Example AI\"
base_url = \"https://api.example.com/v1\"
dialect = \"openai-chat\"
api_key_env = \"EXAMPLE_API_KEY\"
owner = \"Example Ltd\"
jurisdiction = \"DE\"
region = \"EU\"
currency = \"EUR\"
source = \"its documentation, 2026-11-22\"

[[backends]]
provider = \"example\"
model = \"example-base\"
serves = \"completions\"
context_tokens = 16_384
max_output_tokens = 4_096
tokenizer = \"unknown\"

[[backends.prices]]
input = 1.50
output = 2.00
source = \"its price page, 2026-11-22\"

[[backends]]
provider = \"example\"
model = \"example-rank\"
serves = \"rerank\"
context_tokens = 4_096
tokenizer = \"unknown\"

[[backends.prices]]
per_thousand_searches = 2.00
source = \"its price page, 2026-11-22\"

[[backends]]
provider = \"example\"
model = \"example-brush\"
serves = \"images\"
context_tokens = 4_000
tokenizer = \"unknown\"

[[backends.prices]]
# What an image is of which a request does not say it.
unsaid_size = \"1024x1024\"
unsaid_quality = \"standard\"
source = \"its price page, 2026-11-22\"

[[backends.prices.images]]
size = \"1024x1024\"
quality = \"standard\"
per_image = 0.040

[[backends.prices.images]]
size = \"1024x1024\"
quality = \"hd\"
per_image = 0.080

# Of any quality.
[[backends.prices.images]]
size = \"1024x1792\"
per_image = 0.120

[[backends]]
provider = \"example\"
model = \"example-pencil\"
serves = \"images\"
context_tokens = 32_000
# Of the dearest image, those included that are shown before it is done.
max_output_tokens = 6_240
tokenizer = \"unknown\"

[[backends.prices]]
input = 5.00
output = 40.00
source = \"its price page, 2026-11-22\"

[[backends]]
provider = \"example\"
model = \"example-voice\"
serves = \"speech\"
context_tokens = 4_096
tokenizer = \"unknown\"

[[backends.prices]]
per_million_characters = 15.00
source = \"its price page, 2026-11-22\"

[[backends]]
provider = \"example\"
model = \"example-ear\"
serves = \"transcriptions\"
context_tokens = 16_000
tokenizer = \"unknown\"

[[backends.prices]]
per_minute = 0.006
source = \"its price page, 2026-11-22\"
```

| `serves` | path | its price row |
| --- | --- | --- |
| `embeddings` | `/v1/embeddings` | `input`, per million tokens |
| `completions` | `/v1/completions` | `input` and `output`; the row has `max_output_tokens` |
| `rerank` | `/v1/rerank` | `input`, `per_thousand_searches` or `per_request`, or what of them is billed together |
| `images` | `/v1/images/generations` | `per_image`, or `images` by `size` and `quality`, or `input` and `output` |
| `speech` | `/v1/audio/speech` | `per_million_characters` or `per_thousand_characters` (Unicode characters), or `input` and `output` |
| `transcriptions` | `/v1/audio/transcriptions` | `per_hour`, `per_minute` or `per_second` of sound, or `input`, `audio_input` and `output` |

Of the last three a row with a price of `output` has `max_output_tokens`: no request can bound what an image, speech or a transcript comes
to, so that is what is held for each, and booked where the host does not tell its tokens. Of sound that is written down `context_tokens` is
what is held of its input. No image may be of two kinds of `images`; a request whose image may be of several is held and booked at the
dearest. A minimum for each request, as vendors have who bill ten seconds at least, is `minimum`.

Any price row may have `per_request` and `minimum`, in whole units of the currency.
";

/// `config/tokenbroker.toml`.
pub fn example() -> String {
    chapters().iter().fold(EXAMPLE_HEAD.to_owned(), |text, chapter| text + &example_section(chapter))
}

fn example_section(chapter: &Chapter) -> String {
    let settings: String = chapter.entries.iter().map(example_lines).collect();
    format!("\n{}# [{}]\n{settings}", comment(chapter.about), shown_name(chapter.name))
}

/// Keys and aliases with the names that they have elsewhere in the example.
fn shown_name(section: &str) -> String {
    // What `team` and `project` of a key name is there.
    let names = [("keys", "team"), ("teams", "research"), ("projects", "search")];
    let name = names.into_iter().find(|(of, _)| section.starts_with(of)).map_or("fast", |(_, name)| name);
    section.replace("NAME", name)
}

fn example_lines(entry: &Entry) -> String {
    let Entry { name, meaning, accepted, .. } = entry;
    let absence = entry.unset.map(|unset| format!(" Without it: {}.", unset.means)).unwrap_or_default();
    match entry.default.as_deref().or(entry.unset.map(|unset| unset.example)) {
        // Two settings that exclude each other cannot both stand as lines to switch on.
        None | Some("") => comment(&format!("Or `{name} = ...` ({accepted}). {meaning}")),
        Some(value) => {
            let restart = if entry.applies == Applies::OnRestart { "; on restart" } else { "" };
            let line = format!("# {} = {value}  # {accepted}{restart}\n", name.replace("NAME", "fast"));
            comment(&format!("{meaning}{absence}")) + &line
        }
    }
}

/// Words as comment lines, broken between them.
fn comment(words: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < COMMENT_WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.join("\n") + "\n"
}

/// `docs/configuration.md`.
pub fn page() -> String {
    chapters().iter().fold(PAGE_HEAD.to_owned(), |page, chapter| page + &section(chapter))
}

fn section(chapter: &Chapter) -> String {
    let rows: String = chapter.entries.iter().map(|entry| row(chapter.name, entry)).collect();
    format!(
        "\n## `[{}]`\n\n{}\n\n| setting and its variable | meaning | accepted | default | a change counts |\n\
         | --- | --- | --- | --- | --- |\n{rows}",
        chapter.name, chapter.about
    )
}

fn row(section: &str, entry: &Entry) -> String {
    let variable = format!("{PREFIX}{}", format!("{section}.{}", entry.name).replace('.', "__").to_uppercase());
    let default = match (&entry.default, entry.unset) {
        (Some(default), _) => format!("`{default}`"),
        (None, Some(unset)) => unset.means.to_owned(),
        (None, None) => String::new(),
    };
    let applies = match entry.applies {
        Applies::OnReload => "on reload",
        Applies::OnRestart => "on restart",
    };
    // A list of sections, and what is called as no variable can be, is one variable, which the section's own words name.
    let variable =
        if section.starts_with('[') || entry.name.starts_with('"') { String::new() } else { format!("<br>`{variable}`") };
    format!("| `{}`{variable} | {} | {} | {default} | {applies} |\n", entry.name, entry.meaning, entry.accepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_what_the_code_says() {
        let written = "run scripts/docs, which writes it anew";
        assert!(include_str!("../../config/tokenbroker.toml") == example(), "config/tokenbroker.toml: {written}");
        assert!(include_str!("../../docs/configuration.md") == page(), "docs/configuration.md: {written}");
    }

    #[test]
    fn every_setting_says_what_it_means_and_what_holds_without_it() {
        for chapter in chapters() {
            for Entry { name, meaning, accepted, default, unset, .. } in &chapter.entries {
                let path = format!("{}.{name}", chapter.name);
                assert!(meaning.ends_with('.') && !accepted.is_empty(), "{path}");
                assert!(default.is_some() != unset.is_some(), "{path}: a default, or what absence means");
                assert!(!format!("{meaning}{accepted}").contains('|'), "{path}: a cell of a table cannot hold it");
            }
        }
    }

    #[test]
    fn comments_are_wrapped_between_words() {
        let text = comment(&"word ".repeat(40));
        assert!(text.lines().count() == 2 && text.lines().all(|line| line.starts_with("# word") && line.len() <= COMMENT_WIDTH));
        assert_eq!(text.matches("word").count(), 40);
    }
}
