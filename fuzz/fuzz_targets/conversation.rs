//! Any bytes as a request of each shape that clients ask in, told to a provider of each shape: refused, or said in the provider's
//! words with every call and every result that was in it.
#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tokenbroker::canonical::conversation::{Part, Role};
use tokenbroker::canonical::{Conversation, Shape};
use tokenbroker::catalog::capability::{Quirks, Reasoning, ThinkingDepth, ThinkingSwitch};
use tokenbroker::dialect::{self, Outgoing};
use tokenbroker::frontend::{self, Frontend};
use tokenbroker::units::Tokens;

const REASONING: [Reasoning; 3] = [Reasoning::Never, Reasoning::Switchable, Reasoning::Always];

/// The names of the calls in it, and how many results.
fn tools_used<'c>(conversation: &'c Conversation) -> (Vec<&'c str>, usize) {
    // A call by the user, or a result of the assistant's own, has words in one shape only.
    let parts = |role| conversation.turns.iter().filter(move |turn| turn.role == role).flat_map(|turn| &turn.parts);
    let name = |part: &'c Part| if let Part::Call(call) = part { Some(call.name.as_str()) } else { None };
    let results = parts(Role::User).filter(|part| matches!(part, Part::Result(_))).count();
    (parts(Role::Assistant).filter_map(name).collect(), results)
}

fn heard(client: Shape, body: Bytes) -> Option<Conversation> {
    let frontend: &dyn Frontend = frontend::of(Some(client), true, &HeaderMap::new());
    let request = frontend.parse(body, &HeaderMap::new()).ok()?;
    frontend.conversation(&request).ok()
}

fuzz_target!(|input: (u8, &[u8])| {
    let (choice, body) = input;
    let choice = usize::from(choice);
    let Some(sealed) = heard(Shape::CLIENTS[choice % 3], Bytes::copy_from_slice(body)) else {
        return;
    };
    let quirks = Quirks {
        reasoning_returned: choice & 0x40 != 0,
        thinking_switch: ThinkingSwitch::ReasoningEffort,
        thinking_depth: ThinkingDepth::Tokens,
        ..Quirks::default()
    };
    let output_bound = (choice & 0x80 != 0).then(|| Tokens::new(7));
    let out = Outgoing { output_bound, reasoning: REASONING[choice / 3 % 3], ..Outgoing::to("up", quirks) };
    for conversation in [&sealed.with_seals(|_| false), &sealed] {
        for provider in Shape::ENDPOINTS {
            let dialect = dialect::of(provider);
            let Ok(told) = dialect.write(conversation, &out) else {
                continue;
            };
            assert!(serde_json::from_slice::<&RawValue>(&told).is_ok(), "what goes out is JSON");
            if Shape::CLIENTS.contains(&provider) {
                let again = heard(provider, told).expect("what goes out is a request");
                assert_eq!(tools_used(&again), tools_used(conversation), "to a provider of {}", provider.word());
            }
        }
    }
});
