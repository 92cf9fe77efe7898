//! Chat templates: what Jinja makes of them, and those that mean harm.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use luban_base::random::Stream as Draws;
use luban_text::{ChatTemplate, Error};
use serde_json::{Value, json};

/// Templates and what `transformers` makes of them; `bench/template_vectors.py` writes the file.
fn vectors() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/templates.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn texts_are_those_of_jinja() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 60);
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let mut template = ChatTemplate::new(vectors["templates"][name].as_str().unwrap()).unwrap();
        for (name, value) in vectors["given"].as_object().unwrap() {
            template = template.with(name, value.clone());
        }
        let messages = vectors["conversations"][case["conversation"].as_str().unwrap()].as_array().unwrap();
        let tools = vectors["tools"].as_array().filter(|_| case["tools"] == true);
        let found = template.apply(messages, case["prompt"] == true, tools.map(Vec::as_slice));
        match case["text"].as_str() {
            Some(expected) => assert_eq!(found.unwrap(), expected, "{case}"),
            None => {
                let error = found.unwrap_err().to_string();
                assert!(error.contains(case["refused"].as_str().unwrap()), "{error}");
            }
        }
    }
}

fn apply(source: &str) -> Result<String, Error> {
    let messages = [json!({ "role": "user", "content": "Hello" }), json!({ "role": "assistant", "content": ["a", 1] })];
    ChatTemplate::new(source)?.with("eos_token", "</s>").apply(&messages, true, None)
}

#[test]
fn small_things() {
    let cases = [
        ("{{ eos_token }}{{ nothing }}|", "</s>|"),
        ("{{ messages[0].content[0] }}{{ messages[-1].content }}", "H['a', 1]"),
        ("a\n  {% if true %}\n b\n  {% endif %}\nc\n", "a\n b\nc"),
        ("a {%- if true -%} b {%- endif -%} c", "abc"),
        ("{# a comment #}\nx {#- another -#} y", "xy"),
        ("{{ 'it''s' }}{{ \"\\n\\\"\" }}", "its\n\""),
        (
            "{{ 0.1 + 0.2 }} {{ 1e3|string if false else 10 / 4 }} {{ 100000000000000000000.0 }}",
            "0.30000000000000004 2.5 1e+20",
        ),
        ("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "1"),
        ("{% set a, b = 1, 2 %}{{ b }}{{ a }}", "21"),
        ("{% for k, v in {'x': 1, 'y': 2}|items %}{{ k }}{{ v }}{% endfor %}", "x1y2"),
        ("{% for x in [] %}{% else %}none{% endfor %}", "none"),
        ("{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "3"),
        ("{% filter upper %}abc{% endfilter %}", "ABC"),
        ("{{ 'a-b c'|title }} {{ \"they're\".title() }} {{ 'aBC'|capitalize }}", "A-B C They'Re Abc"),
        ("{{ not x is defined and 1 is number }}{{ 'a' ~ 1 + 2 if false else 'k' }}", "Truek"),
        ("{{ [3, 1, 2]|sort|join(',') }} {{ ['b', 'A']|sort(reverse=true) }} {{ [1, 2]|sum }}", "1,2,3 ['b', 'A'] 3"),
        ("{{ {'b': 1, 'a': [1, {}]}|tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": [\n    1,\n    {}\n  ]\n}"),
        ("{{ '%'|length }} {{ '花é'|length }} {{ {'a': 1}|length }}", "1 2 1"),
        ("{{ -3 // 2 }} {{ -3 % 2 }} {{ 2 ** 3 }} {{ -2|abs }}", "-2 1 8 2"),
        ("{{ 'x' in 'xyz' }} {{ 'role' in messages[0] }} {{ 4 not in [1] }}", "True True True"),
        ("{{ strftime_now is defined }}", "False"),
    ];
    for (source, expected) in cases {
        assert_eq!(apply(source).unwrap(), expected, "{source}");
    }
    let dated = ChatTemplate::new("{{ strftime_now('%d %b %Y, %A %-d %B %y %H:%M:%S') }}").unwrap();
    let at = |seconds| {
        ChatTemplate::new("{{ strftime_now('%Y-%m-%d %a') }}").unwrap().with_now(seconds).apply(&[], false, None)
    };
    assert_eq!(at(0).unwrap(), "1970-01-01 Thu");
    assert_eq!(at(951_782_400).unwrap(), "2000-02-29 Tue");
    assert_eq!(at(4_107_542_400).unwrap(), "2100-03-01 Mon");
    let text = dated.with_now(1_735_689_599).apply(&[], false, None).unwrap();
    assert_eq!(text, "31 Dec 2024, Tuesday 31 December 24 23:59:59");
}

#[test]
fn errors_say_what_and_where() {
    let cases = [
        ("\n{% if %}{% endif %}", 2, "a value is expected"),
        ("{% for x in y %}", 1, "endfor"),
        ("{{ 'open }}", 1, "a string does not end"),
        ("{{ a", 1, "a tag does not end"),
        ("{% include 'x' %}", 1, "no block \"include\""),
        ("\n\n{{ x.y }}", 3, "not defined"),
        ("{{ 1 + 'a' }}", 1, "cannot be computed with"),
        ("{{ x() }}", 1, "cannot be called"),
        ("{{ 1|nofilter }}", 1, "no filter \"nofilter\""),
        ("{{ 1 is notest }}", 1, "no test \"notest\""),
        ("{{ 1 / 0 }}", 1, "divided by zero"),
        ("x\n{{ raise_exception('no tools here') }}", 2, "no tools here"),
        ("{% endif %}", 1, "endif"),
    ];
    for (source, expected_line, expected) in cases {
        match apply(source) {
            Err(Error::Template { line, why }) => {
                assert!(why.contains(expected) && why.len() < 200, "{source}: {why}");
                assert_eq!(line, expected_line, "{source}: {why}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn templates_that_mean_harm_end_soon() {
    let nested = |open: &str, close: &str, count| open.repeat(count) + "1" + &close.repeat(count);
    let sources = [
        // Without end.
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".into(),
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}".into(),
        // Without measure.
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}".into(),
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}".into(),
        "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}".into(),
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}".into(),
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s|tojson }}".into(),
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s == ns.s }}".into(),
        "{% set ns = namespace(s=[1]) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor %}".into(),
        "{% set x = 'x' * 99999999999 %}".into(),
        "{% set x = 'x' * 9000000 %}{{ x|replace('x', x) }}".into(),
        "{% set x = 'x' * 3000000 %}{{ x.replace('', x) }}".into(),
        "{% set x = 'x' * 3000000 %}{{ x|indent(999999999) }}{{ x|list|join(x) }}".into(),
        "{% set x = 'x' * 3000000 %}{% for i in range(99999) %}{{ x in x }}{{ x == x ~ '' }}{% endfor %}".into(),
        "{% for i in range(100000) %}{{ 'some text that is not so short' }}{% for j in range(99) %}and more{% endfor %}{% endfor %}".into(),
        "{% set x %}{% for i in range(99999) %}{% for i in range(99999) %}text{% endfor %}{% endfor %}{% endset %}".into(),
        "{{ range(99999999999999) }}{{ range(-9223372036854775807, 9223372036854775807) }}".into(),
        "{{ 9223372036854775807 * 9223372036854775807 }}".into(),
        "{{ 2 ** 999999999 }}".into(),
        "{{ -9223372036854775807 - 99 }}".into(),
        // Too deep.
        "{{ ".to_owned() + &nested("(", ")", 100_000) + " }}",
        "{{ ".to_owned() + &nested("[", "]", 100_000) + " }}",
        "{{ ".to_owned() + &"not ".repeat(100_000) + "1 }}",
        "{{ ".to_owned() + &"-".repeat(100_000) + "1 }}",
        "{{ 1".to_owned() + &"|abs".repeat(100_000) + " }}",
        "{{ x".to_owned() + &".y".repeat(100_000) + " }}",
        nested("{% if 1 %}", "{% endif %}", 50_000),
        "{{ 1".to_owned() + &" if 1 else 1".repeat(50_000) + " }}",
        "{% set ns = namespace() %}{% set ns.me = ns %}".into(),
        "{{ 'x'|map('map', 'map') }}{{ [[1]]|map('map', 'map', 'list') }}".into(),
        " ".repeat(2 << 20),
    ];
    for source in sources {
        let start = Instant::now();
        let head: String = source.chars().take(120).collect();
        match apply(&source) {
            Err(Error::Template { why, .. }) => assert!(why.len() < 300, "{head}: {why}"),
            other => panic!("{head}: {:?}", other.map(|text| text.len())),
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{head} takes {:?}", start.elapsed());
    }
    // Long, but harmless.
    let sum = "{{ 1".to_owned() + &" + 1".repeat(20_000) + " }}";
    assert_eq!(apply(&sum).unwrap(), "20001");
}

#[test]
fn conversations_that_are_too_deep_are_refused() {
    let template = ChatTemplate::new("{{ messages }}").unwrap();
    let mut message = json!(1);
    for _ in 0..100 {
        message = json!([message]);
    }
    let error = template.apply(&[message], false, None).unwrap_err();
    assert!(matches!(error, Error::Template { .. }), "{error}");
}

#[test]
fn damaged_templates_give_errors_or_text() {
    let rounds = std::env::var("LUBAN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    let vectors = vectors();
    let sources: Vec<&str> = vectors["templates"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    let messages: Vec<&Value> = vectors["conversations"].as_object().unwrap().values().collect();
    let pieces = [
        "{%", "%}", "{{", "}}", "(", ")", "[", "]", "|", ".", "'", "-", "if", "else", "for", "loop", "not", "9", "~",
        "\\u12",
    ];
    let mut written = 0;
    for case in 0..rounds {
        let draws = Draws::new(case, &[5]);
        let below = |at: u64, bound: usize| draws.below_at(at, bound.max(1) as u64) as usize;
        let mut source = sources[below(0, sources.len())].to_owned();
        for change in 0..1 + below(1, 3) as u64 {
            let place = source.floor_char_boundary(below(10 * change + 2, source.len()));
            let end = source.floor_char_boundary((place + below(10 * change + 3, 30)).min(source.len()));
            match below(10 * change + 4, 3) {
                0 => source.replace_range(place..end, ""),
                1 => source.insert_str(place, pieces[below(10 * change + 5, pieces.len())]),
                _ => {
                    let copied = source[place..end].to_owned();
                    let to = source.floor_char_boundary(below(10 * change + 6, source.len()));
                    source.insert_str(to, &copied);
                }
            }
        }
        let Ok(template) = ChatTemplate::new(&source) else { continue };
        let messages = messages[below(90, messages.len())].as_array().unwrap();
        written += u64::from(template.apply(messages, true, vectors["tools"].as_array().map(Vec::as_slice)).is_ok());
    }
    assert!(written > rounds / 20, "{written} of {rounds} damaged templates still give text");
}
