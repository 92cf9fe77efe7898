//! Chat templates, run on a conversation.

use luban_text::ChatTemplate;
use serde_json::json;

use super::said;
use crate::{Target, Verdict};

/// A template's source.
pub(crate) const TARGET: Target = Target {
    name: "template",
    run,
    seeds,
    words: &[
        "{% for ",
        "{% if ",
        "{% set ",
        "{% macro ",
        "{% endfor %}",
        "{% endif %}",
        "{{ ",
        " }}",
        "messages",
        "loop.index",
        "namespace(",
        " | tojson",
        " | trim",
        ".split(",
        "range(",
        "raise_exception(",
        "[::-1]",
        "**",
        "~",
    ],
};

fn run(input: &[u8]) -> Verdict {
    let template = ChatTemplate::new(&String::from_utf8_lossy(input)).map_err(said)?.with("bos_token", "<s>");
    let messages = [
        json!({ "role": "system", "content": "be brief" }),
        json!({ "role": "user", "content": "a \u{82b1}\n" }),
        json!({ "role": "assistant", "content": null, "tool_calls": [{ "function": { "name": "f", "arguments": {} } }] }),
    ];
    template.with_now(0).apply(&messages, true, Some(&[json!({ "function": { "name": "f" } })])).map_err(said)?;
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
        "{%- set ns = namespace(first=true) -%}{%- for m in messages if m.content is string -%}{{ loop.index0 ~ ': ' ~ m['content'] | trim }}{%- set ns.first = false -%}{%- endfor -%}",
        "{% macro show(x, y=2) %}{{ x }}-{{ y }}{% endmacro %}{{ show(bos_token) }}{{ tools | tojson(indent=2) if tools else '' }}",
        "{{ messages[1:][0].content.split(' ')[-1].upper() }}{{ range(3) | list }}{{ raise_exception('no') if messages | length > 9 }}",
    ]
    .map(|text| text.into())
    .to_vec()
}
