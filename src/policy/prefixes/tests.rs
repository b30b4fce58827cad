//! What is remembered of prompts, for whom, and for how long.

use super::*;

/// A conversation of some messages, named by a word.
fn chain(word: &str, messages: u32) -> Chain {
    let hash = |n: u32| absorb(u64::from(n), word.as_bytes());
    let links = (1..=messages)
        .map(|n| Link { hash: hash(n), share: u32::try_from(u64::from(WHOLE) * u64::from(n) / u64::from(messages)).unwrap() })
        .collect();
    Chain { links, ..Chain::default() }
}

fn backend(model: &str) -> BackendId {
    BackendId::new("north", model)
}

const fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Backend, share and turn of what each has read.
fn check(prefixes: &Prefixes, chain: &Chain, expected: &[(&str, u32, u16)]) {
    let mut known = prefixes.look(chain, second(100)).read;
    known.sort_unstable_by(|a, b| a.backend.cmp(&b.backend));
    let known: Vec<(BackendId, u32, u16)> = known.into_iter().map(|read| (read.backend, read.share, read.turn)).collect();
    let expected: Vec<_> = expected.iter().map(|(model, share, turn)| (backend(model), *share, *turn)).collect();
    assert_eq!(known, expected);
}

#[test]
fn the_longest_beginning_that_each_backend_has_read_is_known() {
    let prefixes = Prefixes::new(1);
    check(&prefixes, &chain("c", 3), &[]);
    prefixes.remember(&chain("c", 1), &backend("fog"), 1, second(1));
    prefixes.remember(&chain("c", 3), &backend("mist"), 2, second(2));
    check(&prefixes, &chain("c", 5), &[("fog", 200_000, 1), ("mist", 600_000, 2)]);
    check(&prefixes, &chain("c", 2), &[("fog", 500_000, 1), ("mist", 1_000_000, 2)]);
    check(&prefixes, &chain("d", 5), &[]);
    let last = prefixes.look(&chain("c", 5), second(100)).last.unwrap();
    assert_eq!((last.backend, last.turn, last.age), (backend("mist"), 2, second(98)));
}

#[test]
fn a_conversations_turns_are_counted_without_a_name() {
    let prefixes = Prefixes::new(1);
    for turn in 1..6 {
        let prompt = chain("c", 2 * turn - 1);
        let known = prefixes.look(&prompt, second(u64::from(turn)));
        assert!(!known.is_repeated());
        assert_eq!(u32::from(known.last.map_or(0, |last| last.turn)) + 1, turn);
        prefixes.remember(&prompt, &backend("mist"), u16::try_from(turn).unwrap(), second(u64::from(turn)));
    }
    // Its second turn is asked again, and then goes on otherwise.
    let again = prefixes.look(&chain("c", 3), second(9));
    assert!(again.is_repeated());
    assert_eq!(again.last.map(|last| last.turn), Some(2));
    assert_eq!(prefixes.look(&chain("c", 4), second(9)).last.map(|last| last.turn), Some(2));
}

#[test]
fn prompts_that_only_begin_alike_are_no_conversation() {
    let prefixes = Prefixes::new(1);
    let mut asked = chain("rules", 2);
    prefixes.remember(&asked, &backend("mist"), 1, second(1));
    asked.links[1].hash = 7;
    let known = prefixes.look(&asked, second(2));
    assert_eq!((known.read.len(), known.read[0].share, known.last), (1, 500_000, None));
}

/// Who may have made the turns of a prompt, and who told its seals.
#[track_caller]
fn check_makers(prefixes: &Prefixes, chain: &Chain, answered: &[&[&str]], made: &[Option<&str>]) {
    let known = prefixes.look(chain, second(100));
    let answered: Vec<Vec<BackendId>> = answered.iter().map(|set| set.iter().map(|model| backend(model)).collect()).collect();
    let made: Vec<Option<BackendId>> = made.iter().map(|model| model.map(backend)).collect();
    assert_eq!((known.answered, known.made), (answered, made));
}

/// A known defect: whoever had answered the same opening was taken for a maker of what stands behind it.
#[test]
fn who_answered_an_opening_may_have_made_the_turn_behind_it() {
    let prefixes = Prefixes::new(1);
    prefixes.remember(&chain("c", 1), &backend("mist"), 1, second(1));
    check_makers(&prefixes, &chain("c", 3), &[&["mist"]], &[]);
    check_makers(&prefixes, &chain("c", 1), &[], &[]);
    // Who reads it as the beginning of a longer one has not answered it.
    prefixes.remember(&chain("c", 3), &backend("fog"), 2, second(2));
    check_makers(&prefixes, &chain("c", 5), &[&["fog"], &["mist"]], &[]);
    prefixes.remember(&chain("c", 1), &backend("dew"), 1, second(3));
    prefixes.remember(&chain("c", 3), &backend("mist"), 2, second(4));
    check_makers(&prefixes, &chain("c", 5), &[&["fog", "mist"], &["mist", "dew"]], &[]);
    // Of more there may be some that are forgotten.
    prefixes.remember(&chain("c", 1), &backend("rime"), 1, second(5));
    check_makers(&prefixes, &chain("c", 5), &[&["fog", "mist"]], &[]);
    prefixes.forget(&backend("fog"));
    check_makers(&prefixes, &chain("c", 5), &[], &[]);
}

#[test]
fn a_seal_tells_who_made_the_turn_that_it_stands_in() {
    let prefixes = Prefixes::new(1);
    let sealed = |seals: &[u64]| Chain { seals: seals.to_vec(), ..chain("c", 3) };
    for (model, at) in ["mist", "fog"].iter().zip(1..) {
        prefixes.remember(&chain("c", 1), &backend(model), 1, second(at));
        prefixes.sealed(at, &backend(model), second(at));
    }
    let home = |seals: &[u64]| prefixes.look(&sealed(seals), second(100)).last.map(|last| last.backend);
    assert_eq!([home(&[]), home(&[1]), home(&[2])], [Some(backend("fog")), Some(backend("mist")), Some(backend("fog"))]);
    check_makers(&prefixes, &sealed(&[2, 3, 1]), &[&["mist", "fog"]], &[Some("fog"), None, Some("mist")]);
    // What several tell is a word of theirs.
    for model in ["mist", "fog"] {
        prefixes.sealed(4, &backend(model), second(3));
    }
    check_makers(&prefixes, &sealed(&[4]), &[&["mist", "fog"]], &[None]);
    // Remembered as long as the conversation goes on.
    let invented = |n: u64| Chain { links: vec![Link { hash: absorb(3, &n.to_le_bytes()), share: WHOLE }], ..Chain::default() };
    for n in 0..300_000 {
        prefixes.remember(&invented(n), &backend("dew"), 1, second(1));
        if n % 20_000 == 0 {
            prefixes.remember(&sealed(&[1]), &backend("mist"), 2, second(1));
        }
    }
    check_makers(&prefixes, &Chain { seals: vec![1, 2], ..Chain::default() }, &[], &[Some("mist"), None]);
}

#[test]
fn a_named_session_goes_on_though_its_prompt_is_another() {
    let prefixes = Prefixes::new(1);
    let named = |word| Chain { session: Some(77), ..chain(word, 2) };
    prefixes.remember(&named("a"), &backend("mist"), 1, second(1));
    prefixes.remember(&named("b"), &backend("fog"), 2, second(2));
    let known = prefixes.look(&named("c"), second(3));
    assert_eq!((known.read.len(), known.last.map(|last| (last.backend, last.turn))), (0, Some((backend("fog"), 2))));
}

#[test]
fn another_provider_key_is_another_cache() {
    let prefixes = Prefixes::new(1);
    prefixes.remember(&chain("c", 3), &backend("mist"), 1, second(1));
    prefixes.hit(&backend("mist"), 0);
    prefixes.forget(&backend("mist"));
    check(&prefixes, &chain("c", 3), &[]);
    assert_eq!(prefixes.hit_rate(&backend("mist")), SUPPOSED_HIT.share);
    prefixes.remember(&chain("c", 2), &backend("mist"), 1, second(1));
    check(&prefixes, &chain("c", 4), &[("mist", 500_000, 1)]);
}

#[test]
fn gateway_keys_have_seeds_of_their_own() {
    let (one, other) = (Prefixes::new(1), Prefixes::new(2));
    let (web, batch) = (KeyName::new("web"), KeyName::new("batch"));
    assert_eq!(one.seed(&web), one.seed(&web));
    assert!(one.seed(&web) != one.seed(&batch) && one.seed(&web) != other.seed(&web));
}

#[test]
fn of_one_beginning_the_latest_readers_are_remembered() {
    let prefixes = Prefixes::new(1);
    for (model, at) in ["a", "b", "c", "d", "e"].iter().zip(1..) {
        prefixes.remember(&chain("c", 1), &backend(model), 1, second(at));
    }
    check(&prefixes, &chain("c", 1), &["b", "c", "d", "e"].map(|model| (model, WHOLE, 1)));
}

#[test]
fn however_many_prompts_clients_invent_memory_is_bounded() {
    let prefixes = Prefixes::new(1);
    let invented = |n: u64| Chain { links: vec![Link { hash: absorb(3, &n.to_le_bytes()), share: WHOLE }], ..Chain::default() };
    for n in 0..1_000_000 {
        prefixes.remember(&invented(n), &backend("mist"), 1, second(1));
    }
    for shard in &prefixes.shards {
        let shard = shard.lock().unwrap();
        assert!(shard.young.len() <= GENERATION && shard.old.len() <= GENERATION);
    }
    check(&prefixes, &invented(999_999), &[("mist", WHOLE, 1)]);
    check(&prefixes, &invented(0), &[]);
}

#[test]
fn what_hits_is_learned_per_backend() {
    let prefixes = Prefixes::new(1);
    (0..200).for_each(|_| prefixes.hit(&backend("mist"), 100_000));
    (0..200).for_each(|_| prefixes.hit(&backend("fog"), ONE));
    assert!((100_000..150_000).contains(&prefixes.hit_rate(&backend("mist"))));
    assert!(prefixes.hit_rate(&backend("fog")) > 980_000);
    assert_eq!(prefixes.hit_rate(&backend("dew")), SUPPOSED_HIT.share);
    let again = Prefixes::new(9);
    again.restore_hits(prefixes.kept_hits());
    assert_eq!(again.kept_hits(), prefixes.kept_hits());
}
