//! Every command of every document, typed as it stands: what a reader is told to do works, or this fails.
//!
//! A block in `sh` is followed line by line in a folder like a fresh clone; curl asks a gateway with the shipped table, all of
//! whose providers are one scripted server. What another step of `scripts/test` runs stands in [`ELSEWHERE`]; a command that
//! is neither is a failure, as is a block whose language nobody knows. Not here: what documents claim (`readme.rs` and the tests
//! that each page names).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::harness::client::Connection;
use crate::harness::desk::Desk;
use crate::harness::page::{Page, ROOT, commands, words};
use crate::harness::{Call, Gateway, Provider, Setup, chat, provider};

/// Commands that are not typed here, with the step of `scripts/test` that runs them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("cargo build --release", "release"),
    ("cargo clippy --all-targets -- -D warnings", "clippy"),
    ("cargo fmt", "fmt"),
    ("cargo test", "cargo"),
    ("cargo test --lib config", "cargo"),
    ("cargo test --test it -- failover", "cargo"),
    ("cargo test --test tidy", "cargo"),
    ("pip install openai", "tools"),
    // The test beside `config/pages.rs` compares with what it would write.
    ("scripts/docs", "cargo"),
];

/// Code in other languages, with the step that runs it.
const CODE_ELSEWHERE: &[(&str, &str, &str)] = &[
    ("README.md", "python", "python"),
    ("README.md", "js", "node"),
    // By the real curl, pipes and HTTP/2 included: `tests/sdk/python/test_api.py`.
    ("docs/api.md", "sh", "python"),
];

/// Blocks that show something and ask for nothing.
const SHOWN: &[&str] = &["json", "text", "http", "yaml", "promql"];

/// What every provider of the table answers with here.
fn answered(body: &str) -> provider::Script {
    let streamed = serde_json::from_str(body).is_ok_and(|body: serde_json::Value| body["stream"] == true);
    if streamed { provider::stream(&chat::hello()) } else { provider::whole(&chat::answer("Hello.", 9, 2)) }
}

/// Somebody who follows one document from its first line to its last.
struct Reader<'p> {
    page: &'p Page,
    desk: Desk,
    provider: Provider,
    gateway: Gateway,
}

impl<'p> Reader<'p> {
    async fn of(page: &'p Page) -> Self {
        let (desk, provider) = (Desk::new(), Provider::start("east").await);
        let table = fs::read_to_string(desk.path("providers.toml")).unwrap();
        let leads_here = |line: &str| match line.strip_prefix("base_url = ") {
            Some(_) => format!("base_url = \"http://{}/v1\"\n", provider.address),
            // The address here has no place to fill.
            None if line.starts_with("placeholders = ") => String::new(),
            // Nor does it say where it is.
            None if line.ends_with(".sigv4]") => format!("{line}\nregion = \"here\"\n"),
            None => format!("{line}\n"),
        };
        let file = desk.path("scripted.toml");
        fs::write(&file, table.lines().map(leads_here).collect::<String>()).unwrap();
        let setup = Setup::of([]).set("providers_file.path", &file.to_string_lossy());
        let keys = table.lines().filter_map(|line| line.strip_prefix("api_key_env = "));
        let gateway = keys.fold(setup, |setup, variable| setup.variable(variable.trim_matches('"'), "k")).start();
        Self { page, desk, provider, gateway }
    }

    async fn follow(&mut self, line: &str) {
        let typed = words(line, self.desk.variables());
        let (set, typed): (Vec<String>, Vec<String>) = {
            let is_set = |word: &String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
            let count = typed.iter().take_while(|word| is_set(word)).count();
            (typed[..count].to_vec(), typed[count..].to_vec())
        };
        let plain = typed.join(" ");
        let arguments = plain.strip_prefix("cargo run --release -- ").or_else(|| plain.strip_prefix("tokenbroker "));
        match (typed.first().map(String::as_str), arguments) {
            (None | Some("export"), _) => {
                for (name, value) in set.iter().chain(&typed).filter_map(|word| word.split_once('=')) {
                    self.desk.export(name, value);
                }
            }
            (_, Some(arguments)) => self.tokenbroker(line, &set, arguments),
            (Some("curl"), _) => self.curl(line, &typed).await,
            (Some("cp" | "mkdir" | "cat"), _) => drop(self.desk.shell(line)),
            (Some("scripts/test"), _) => are_steps(&self.page.path, typed[1..].iter().map(String::as_str)),
            _ => assert!(
                ELSEWHERE.iter().any(|(command, _)| *command == plain),
                "{}: this test does not know how to follow {line:?}, and no step is named that runs it",
                self.page.path
            ),
        }
    }

    /// What serves is stopped when it serves; everything else ends by itself.
    fn tokenbroker(&mut self, line: &str, set: &[String], arguments: &str) {
        let ready = match arguments.split_whitespace().next() {
            Some("serve") => "operations",
            Some("demo") => "Serving until Ctrl-C.",
            _ => "",
        };
        let ends =
            ["--once", "--help", "--version"].iter().any(|option| arguments.split_whitespace().any(|word| word == *option));
        if ["health", "top"].iter().any(|command| arguments.split_whitespace().next() == Some(*command)) {
            self.desk.run(&self.asks_here(arguments));
        } else if ready.is_empty() || ends {
            // Books that no `serve` of this page has left are those of the gateway of the test.
            let reads_books = ["export", "ledger"].iter().any(|command| arguments.split_whitespace().next() == Some(*command));
            if reads_books && !self.desk.path("tokenbroker-data").exists() {
                self.desk.export("TOKENBROKER__BOOKS__DIRECTORY", &self.gateway.setup.data().to_string_lossy());
            }
            self.desk.shell(line);
        } else {
            for (name, value) in set.iter().filter_map(|word| word.split_once('=')) {
                self.desk.export(name, value);
            }
            self.desk.run_until(arguments, ready);
        }
    }

    /// A command that looks at the gateway which runs on this machine looks at the one of the test.
    fn asks_here(&self, arguments: &str) -> String {
        let here = self.gateway.operations.to_string();
        match (arguments.contains("--url"), arguments.starts_with("health")) {
            (true, _) => arguments.replace("127.0.0.1:8079", &here),
            (false, true) => format!("{arguments} --url http://{here}/readyz"),
            (false, false) => format!("{arguments} --url http://{here}"),
        }
    }

    async fn curl(&mut self, line: &str, typed: &[String]) {
        let call = call(line, typed);
        self.provider.always(answered(&call.body));
        let address = if call.port == "8079" { self.gateway.operations } else { self.gateway.api };
        let mut connection = Connection::open(address).await;
        connection.send(&call.call).await;
        let answer = connection.answer().await.whole().await;
        assert_eq!(answer.status, 200, "{}: {line}: {}", self.page.path, answer.text());
        if let Some((_, id)) = answer.headers.iter().find(|(name, _)| name == "x-tokenbroker-request-id") {
            self.desk.export("REQUEST_ID", id);
        }
        // With the keys that were exported by now, the shipped table can serve it as well.
        if call.path.ends_with("/chat/completions") && self.desk.variables().keys().any(|name| name.ends_with("_API_KEY")) {
            fs::write(self.desk.path("asked.json"), &call.body).unwrap();
            assert!(self.desk.run("route asked.json").contains("->"), "{line}");
        }
    }
}

/// Fails for a step that `scripts/test` does not have.
fn are_steps<'s>(path: &str, steps: impl IntoIterator<Item = &'s str>) {
    let script = Page::read("scripts/test").text;
    let known = script.lines().find_map(|line| line.strip_prefix("readonly STEPS=(")?.strip_suffix(')')).unwrap();
    for step in steps {
        assert!(known.split_whitespace().any(|known| known == step), "{path}: scripts/test has no step {step}");
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// What a command of curl asks for.
struct Asked {
    port: String,
    path: String,
    body: String,
    call: Call,
}

/// Reads a command of the form that curl takes, as far as documents use it.
fn call(line: &str, words: &[String]) -> Asked {
    let (mut url, mut method, mut headers, mut body) = (None, None, Vec::new(), None);
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        let mut next = || rest.next().unwrap_or_else(|| panic!("{line}: {word} wants a word")).clone();
        match word.as_str() {
            "-H" | "--header" => headers.push(next()),
            "-d" | "--data" => body = Some(next()),
            "-X" | "--request" => method = Some(next()),
            "--compressed" => headers.push("accept-encoding: gzip".to_owned()),
            flags if flags.len() > 1 && flags.starts_with('-') && flags[1..].chars().all(|c| "isSfN".contains(c)) => {}
            address if address.contains("127.0.0.1:") => url = Some(address.to_owned()),
            other => panic!("{line}: this test does not know what {other:?} is to curl"),
        }
    }
    let url = url.unwrap_or_else(|| panic!("{line}: no address of a gateway"));
    let (_, place) = url.split_once("127.0.0.1:").unwrap();
    let (port, path) = place.split_once('/').map_or((place, "/".to_owned()), |(port, path)| (port, format!("/{path}")));
    assert!(["8080", "8079"].contains(&port), "{line}: neither of the gateway's ports");
    let method = method.unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
    let body = body.unwrap_or_default();
    let call = headers.iter().fold(Call::new(&method, &path, body.clone()), |call, header| {
        let (name, value) = header.split_once(": ").unwrap_or_else(|| panic!("{line}: {header:?} is no header"));
        call.header(name, value)
    });
    Asked { port: port.to_owned(), path, body, call }
}

#[tokio::test]
async fn every_command_of_every_document_does_what_it_should() {
    let mut followed = BTreeMap::<String, usize>::new();
    for page in Page::all() {
        let here = CODE_ELSEWHERE.iter().all(|(path, code, _)| (*path, *code) != (&page.path, "sh"));
        let blocks: Vec<_> = page.blocks().into_iter().filter(|block| here && block.language == "sh").collect();
        if blocks.is_empty() {
            continue;
        }
        let mut reader = Reader::of(&page).await;
        for line in blocks.iter().flat_map(|block| commands(&block.text)) {
            reader.follow(&line).await;
            *followed.entry(page.path.clone()).or_default() += 1;
        }
    }
    for page in ["README.md", "CONTRIBUTING.md", "docs/configuration.md"] {
        assert!(followed.contains_key(page), "{page} asks for nothing: {followed:?}");
    }
}

#[test]
fn every_block_is_of_a_language_that_somebody_runs_or_that_asks_for_nothing() {
    are_steps("ELSEWHERE", ELSEWHERE.iter().map(|(_, step)| *step).chain(CODE_ELSEWHERE.iter().map(|(_, _, step)| *step)));
    for page in Page::all() {
        for block in page.blocks() {
            let language = block.language.as_str();
            let elsewhere = CODE_ELSEWHERE.iter().any(|(path, code, _)| (*path, *code) == (&page.path, language));
            let known = ["sh", "toml"].contains(&language) || SHOWN.contains(&language) || elsewhere;
            assert!(known, "{}: a block of {language:?}, and nobody runs it:\n{}", page.path, block.text);
        }
    }
}

/// A provider goes to the end of the table, anything else is a configuration.
#[test]
fn every_snippet_in_toml_is_accepted_as_it_stands() {
    for page in Page::all() {
        for (n, block) in page.blocks().into_iter().filter(|block| block.language == "toml").enumerate() {
            let desk = Desk::new();
            let is_table = block.text.contains("[providers.") || block.text.contains("[[backends]]");
            let (option, before) = if is_table {
                ("--providers", fs::read_to_string(desk.path("providers.toml")).unwrap())
            } else {
                ("--config", String::new())
            };
            let file = format!("snippet-{n}.toml");
            fs::write(desk.path(&file), before + "\n" + &block.text).unwrap();
            desk.run(&format!("check {option} {file}"));
        }
    }
}

/// In the README they are run (`readme.rs`); elsewhere they must be words that the program knows.
#[test]
fn every_command_within_a_text_exists() {
    let desk = Desk::new();
    let mut seen = 0;
    for page in Page::all() {
        for command in page.quoted("tokenbroker ") {
            let arguments = command.strip_prefix("tokenbroker ").unwrap().replace("...", "");
            desk.run(&format!("{arguments} --help"));
            seen += 1;
        }
        for script in page.quoted("scripts/") {
            let file = script.split_whitespace().next().unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
            assert!(Path::new(ROOT).join(&file).exists(), "{}: there is no {file}", page.path);
        }
    }
    assert!(seen > 8, "{seen} commands");
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    for page in Page::all() {
        let folder = Path::new(ROOT).join(&page.path).parent().unwrap().to_owned();
        for link in page.links() {
            assert!(folder.join(&link).exists(), "{}: {link} leads nowhere", page.path);
        }
    }
}

#[test]
fn a_command_that_nobody_knows_is_noticed() {
    let known = BTreeMap::from([("NAME".to_owned(), "a b".to_owned())]);
    assert_eq!(words("run 'x y' \"$NAME\" --z=\"1\"  # why", &known), ["run", "x y", "a b", "--z=1"]);
    assert_eq!(words("a|b >c '' #", &known), ["a", "|", "b", ">", "c", ""]);
    assert_eq!(commands("# note\none \\\n  two\n\nthree\n"), ["one    two", "three"]);
    let page = Page { path: "p.md".to_owned(), text: "a `b c`\n```sh\nrm -r x\n```\n[l](x.md#y) [m](https://z)\n".to_owned() };
    assert_eq!((page.quoted("b"), page.links()), (vec!["b c".to_owned()], vec!["x.md".to_owned()]));
    assert_eq!(page.blocks().len(), 1);
    let follow = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { Reader::of(&page).await.follow("rm -r x").await });
    });
    let told = follow.join().unwrap_err().downcast::<String>().unwrap();
    assert!(told.contains("does not know how to follow \"rm -r x\""), "{told}");
}
