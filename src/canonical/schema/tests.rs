//! What keeps to a schema and what does not, and that no schema asks for endless work.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn the_root_says_whether_it_may_be_an_object() {
    for may in ["{}", r#"{"type":"object"}"#, r#" {"type":["null","object"]}"#, r##"{"$ref":"#/$defs/a"}"##, r#"{"type":7}"#] {
        assert!(may_be_an_object(may), "{may}");
    }
    for may_not in ["true", "", "7", r#"{"type":"array"}"#, r#"{"type":["null","string"]}"#, r#"["object"]"#, r#"{"type":"#] {
        assert!(!may_be_an_object(may_not), "{may_not}");
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a literal reads better")]
fn check(schema: Value, fits: &[Value], not: &[(Value, &str)]) {
    let rules = Schema::parse(&schema.to_string()).unwrap();
    for value in fits {
        assert_eq!(rules.check(value), Ok(()), "{schema} {value}");
    }
    for (value, why) in not {
        let told = rules.check(value).unwrap_err().to_string();
        assert!(told.contains(why), "{schema} {value}: {told}");
    }
}

#[test]
fn an_object_has_its_members_and_no_others() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"], "additionalProperties": false});
    let fits = [json!({"city": "Oslo"}), json!({"city": "Oslo", "days": 3}), json!({"city": "", "days": 3.0})];
    check(
        schema,
        &fits,
        &[
            (json!({"days": 3}), "`city` is missing"),
            (json!({"city": 4}), "4 is not of the type string (at /city)"),
            (json!({"city": "Oslo", "days": 3.5}), "integer"),
            (json!({"city": "Oslo", "more": 1}), "no member `more`"),
            (json!([]), "an array is not of the type object"),
        ],
    );
    check(json!({"additionalProperties": {"type": "null"}}), &[json!({"a": null})], &[(json!({"a": 1}), "null")]);
    let pattern = json!({"patternProperties": {"^x": {}}, "additionalProperties": false});
    check(pattern, &[json!({"xa": 1})], &[]);
}

#[test]
fn items_texts_and_numbers_have_bounds() {
    let items = json!({"type": "array", "items": {"enum": ["a", 1]}, "minItems": 1, "maxItems": 2, "uniqueItems": true});
    let wrong = [
        (json!([]), "too few"),
        (json!(["a", 1, "a"]), "too many"),
        (json!(["b"]), "none of \"a\", 1 (at /0)"),
        (json!(["a", "a"]), "twice"),
    ];
    check(items, &[json!(["a", 1.0]), json!(["a"])], &wrong);
    let pair = json!({"prefixItems": [{"type": "string"}], "items": false});
    check(pair, &[json!(["a"])], &[(json!([1]), "/0"), (json!(["a", 1]), "nothing may stand here (at /1)")]);
    check(
        json!({"items": [{"type": "string"}], "additionalItems": {"type": "null"}}),
        &[json!(["a", null])],
        &[(json!(["a", 1]), "/1")],
    );
    check(json!({"minLength": 2, "maxLength": 3}), &[json!("éé"), json!(7)], &[(json!("é"), "few"), (json!("éééé"), "many")]);
    let number = json!({"minimum": 0, "exclusiveMaximum": 10, "multipleOf": 0.1});
    check(number, &[json!(0), json!(9.9), json!(0.3)], &[(json!(10), "large"), (json!(-1), "small"), (json!(0.25), "multiple")]);
}

#[test]
fn schemas_are_combined_and_referred_to() {
    let either = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
    check(
        either,
        &[json!("a"), json!(null)],
        &[(json!(1), "none of the alternatives; by the first: 1 is not of the type string")],
    );
    let one = json!({"oneOf": [{"type": "integer"}, {"minimum": 5}]});
    check(one, &[json!(3), json!(7.5)], &[(json!(7), "fits 2")]);
    check(json!({"not": {"type": "string"}}), &[json!(1)], &[(json!("a"), "may not be")]);
    check(json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), &[json!(1)], &[(json!(3), "large")]);
    let branch = json!({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"type": "number"}});
    check(branch, &[json!("ab"), json!(1)], &[(json!("a"), "few"), (json!(null), "number")]);
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties":
        {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["next"]}}});
    check(tree, &[json!({"next": {"next": null}})], &[(json!({"next": {}}), "alternatives")]);
    check(json!({"$ref": "https://example.com/other.json"}), &[json!(1)], &[]);
    check(
        json!({"type": ["string", "null"], "const": "a"}),
        &[json!("a")],
        &[(json!(null), "null is not \"a\""), (json!(1), "string or null")],
    );
}

#[test]
fn what_is_no_schema_constrains_nothing_and_no_json_is_told() {
    for schema in ["true", "{}", "[]", "7", r#"{"type":"banana","pattern":"^a","format":"email","required":7}"#] {
        assert_eq!(Schema::parse(schema).unwrap().check_text(r#"{"a":[1]}"#), Ok(()), "{schema}");
    }
    assert!(Schema::parse("{").is_none());
    let told = Schema::parse("{}").unwrap().check_text("Sure! {}").unwrap_err().to_string();
    assert!(told.contains("it is no JSON"), "{told}");
    assert!(Schema::parse("false").unwrap().check_text("1").is_err());
}

#[test]
fn a_schema_that_asks_for_endless_work_is_not_kept_to() {
    let round = Schema::parse(r##"{"$ref":"#"}"##).unwrap();
    assert!(round.check(&json!(1)).unwrap_err().to_string().contains("more work"));
    let twice = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
    assert!(Schema::parse(&twice.to_string()).unwrap().check(&json!(1)).unwrap_err().to_string().contains("more work"));
    // Nor does a question that could not be answered turn into its opposite.
    let not = json!({"not": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]},
        "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}});
    assert!(Schema::parse(&not.to_string()).unwrap().check(&json!(1)).is_err());
    let many = json!((0..2_000).collect::<Vec<_>>());
    assert!(Schema::parse(r#"{"uniqueItems":true}"#).unwrap().check(&many).is_err());
}

/// Found by a reader: an enumeration, `required` and a text counted as one step, however long they were.
#[test]
fn the_bound_of_a_check_counts_the_lengths_of_enumerations_required_members_and_texts() {
    let check = |what: &str, schema: &Value, value: &Value, expected: bool| {
        let checked = Schema::parse(&schema.to_string()).unwrap().check(value);
        let too_much = checked.as_ref().is_err_and(|wrong| wrong.what == TOO_MUCH);
        assert_eq!((checked.is_ok(), too_much), (!expected, expected), "{what}: {checked:?}");
    };
    let words = |count: usize| (0..count).map(|n| json!(format!("w{n}"))).collect::<Vec<_>>();
    let among = |count: usize| (json!({"items": {"enum": words(count)}}), json!(vec![json!(format!("w{}", count - 1)); count]));
    let ((few, said), (many, too_many)) = (among(500), among(2_000));
    check("an enumeration", &few, &said, false);
    check("an enumeration", &many, &too_many, true);
    let members = |count: usize| {
        let object: Map<String, Value> = (0..count).map(|n| (format!("w{n}"), json!(n))).collect();
        (json!({"items": {"required": words(count)}}), json!(vec![Value::Object(object); count]))
    };
    let ((few, said), (many, too_many)) = (members(500), members(900));
    check("required", &few, &said, false);
    check("required", &many, &too_many, true);
    let text = json!("é".repeat(1 << 20));
    let bounded = |times: usize| json!({"allOf": vec![json!({"minLength": 1}); times]});
    check("a text", &bounded(10), &text, false);
    check("a text", &bounded(20), &text, true);
    let constant = |times: usize| json!({"allOf": vec![json!({"const": text}); times]});
    check("a constant", &constant(10), &text, false);
    check("a constant", &constant(20), &text, true);
}

proptest! {
    #[test]
    fn foreign_schemas_and_answers_never_panic(schema in "[ -~]{0,60}", answer in "[ -~]{0,60}") {
        if let Some(schema) = Schema::parse(&schema) {
            let _ = schema.check_text(&answer);
        }
    }

    /// What is made by a schema keeps to it, and what lacks a required member does not.
    #[test]
    fn objects_keep_to_the_schema_of_their_members(members in prop::collection::btree_map("[a-z]{1,6}", any::<i32>(), 1..6)) {
        let names: Vec<&String> = members.keys().collect();
        let properties: Map<String, Value> =
            names.iter().map(|name| ((*name).clone(), json!({"type": "integer"}))).collect();
        let schema = json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false});
        let schema = Schema::parse(&schema.to_string()).unwrap();
        let mut value = json!(members);
        prop_assert_eq!(schema.check(&value), Ok(()));
        value.as_object_mut().unwrap().remove(names[0]);
        prop_assert!(schema.check(&value).is_err());
    }
}
