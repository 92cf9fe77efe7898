"""Writes crates/text/tests/vectors/templates.json: chat templates of the shapes that models bring, and what Jinja makes
of conversations with them, in the environment of `transformers`.

    template_vectors.py

The templates are written for this file; each does what templates of some family do, by the same means.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

OUT = Path(__file__).resolve().parent.parent / "crates/text/tests/vectors/templates.json"

CHATML = """{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

ONE_LINE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<s>You help.</s>\n' }}"
    "{% endif %}{{'<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

HEADERS = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{#- The head, with the tools. -#}
{{- "<|start|>system<|stop|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Tools: " }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|stop|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("one call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start|>assistant<|stop|>\\n\\n{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot|>" }}
    {%- else %}
        {{- "<|start|>ipython<|stop|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant<|stop|>\\n\\n' }}{%- endif %}
"""

ALTERNATING = """{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'].strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' ~ message['content'] ~ eos_token }}{% else %}{{ raise_exception('unknown role') }}{% endif %}{% endfor %}"""

NAMESPACES = """{%- set ns = namespace(is_first=false, is_tool=false, system='', last=messages|length - 1) -%}
{%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {%- set ns.system = ns.system + message['content'] -%}
  {%- endif -%}
{%- endfor -%}
{{ bos_token }}{{ ns.system }}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) and not ns.is_first %}
        {%- set ns.is_first = true %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages if message.role != 'system' %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content or '' %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last or (loop.last and reasoning) %}
            {{- '<a><think>' ~ reasoning.strip('\\n') ~ '</think>' ~ content }}
        {%- else %}
            {{- '<a>' ~ content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<call>{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}</call>' }}
            {%- endfor %}
        {%- endif %}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or (loop.previtem.role != 'tool') %}{{- '<t>' }}{%- endif %}
        {{- '\\n' ~ message.content }}
        {%- if loop.last or (loop.nextitem.role != "tool") %}{{- '</t>\\n' }}{%- endif %}
    {%- else %}
        {{- '<u>' ~ message.content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt and not ns.is_tool %}{{ '<a>' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think></think>' }}{% endif %}{% endif %}"""

MACROS = """{%- macro render(spec, indent='', required=[]) -%}
    {%- if spec.type == 'object' -%}
        {
        {%- for name, param in spec.properties.items() -%}
            {{- '\\n' + indent + name + ('' if name in spec.get('required', []) else '?') + ': ' -}}
            {{- render(param, indent=indent + '  ') -}}
            {{- ',' if not loop.last -}}
        {%- endfor -%}
        {{- '\\n' + indent + '}' -}}
    {%- elif spec.type == 'array' -%}
        {{- render(spec['items'] | default({'type': 'any'})) + '[]' -}}
    {%- elif spec.enum is defined and spec.enum -%}
        {{- spec.enum | map('tojson') | join(' | ') -}}
    {%- else -%}
        {{- {'string': 'string', 'integer': 'number'}.get(spec.type, spec.type) | default('any', true) -}}
    {%- endif -%}
{%- endmacro -%}
{%- if tools %}
{{ "# Tools" }}
  {%- for tool in tools | sort(attribute='function.name') %}
    {%- set f = tool.function %}

// {{ f.description | default("nothing", true) | indent(3) }}
{{ f.name | upper }}({{ render(f.parameters, '  ') }})
  {%- endfor %}
{%- endif %}
{% for role, items in [('user', messages | selectattr('role', 'equalto', 'user') | list), ('other', messages | rejectattr('role', 'eq', 'user') | list)] %}
{{ role | capitalize }}: {{ items | map(attribute='content') | select('string') | join('; ') | replace('a', 'A') | title }} ({{ items | length }})
    {% if items %}{% set seen = items | first %}{{ seen.role }}{% else %}nobody{% endif %}

{% else %}
never
{% endfor %}
{{ messages | map(attribute='role') | unique | list }} {{ {'a': [1, 2.5, true, none, "it's"], 'b': {}} }} {{ 7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 5 }} {{ 1e3 if false else 0.5 }}
{%- set text %}
 caught {{ messages | length }}
{% endset %}
[{{ text | trim }}] {{ 'x' * 3 ~ 1 }} {{ [1, 2] + [3] }} {{ 'abcdef'[1:-1:2] }} {{ 'a,b,,c'.split(',') }} {{ (1, 2)[0] }} {{ 3 in [1, 2, 3] and 'b' not in 'abc' }} {{ 1 < 2 <= 2 }}
{% for n in range(10) %}{% if n == 2 %}{% continue %}{% elif n > 4 %}{% break %}{% endif %}{{ n }}{{ ', ' if not loop.last }}{% endfor %}
   {%+ if true %}kept{% endif %}
   {% raw %}{{ as it is }}{% endraw %}
{% generation %}said{% endgeneration %}
"""

USER = {"role": "user", "content": " Hi, what's \"up\"? é花\n"}
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "array", "items": {"type": "integer"}},
        "unit": {"enum": ["C", "F"]},
        "deep": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]},
    },
    "required": ["city"],
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Tells\nthe <weather> & more", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}},
]
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": [1, 2], "x": None}}}
CONVERSATIONS = {
    "one": [USER],
    "system": [{"role": "system", "content": "Be brief. "}, USER],
    "turns": [USER, {"role": "assistant", "content": "Hello <b>!"}, {"role": "user", "content": "Bye"}],
    "thinking": [
        {"role": "system", "content": "S"},
        USER,
        {"role": "assistant", "content": "<think>\nwell\n</think>\n\nAnswer"},
        {"role": "user", "content": "More"},
        {"role": "assistant", "content": "<think>again</think>Yes"},
    ],
    "tools": [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "{\"sunny\": true}"},
        {"role": "tool", "content": "second"},
        {"role": "assistant", "content": "Sunny."},
    ],
}


def main():
    templates = dict(
        chatml=CHATML, one_line=ONE_LINE, headers=HEADERS, alternating=ALTERNATING, namespaces=NAMESPACES, macros=MACROS
    )
    given = dict(bos_token="<s>", eos_token="</s>")
    cases = []
    for name in templates:
        for conversation, messages in CONVERSATIONS.items():
            for tools in (None, TOOLS):
                prompt = conversation in ("one", "tools")
                case = dict(template=name, conversation=conversation, tools=tools is not None, prompt=prompt)
                try:
                    rendered, _ = render_jinja_template(
                        conversations=[messages],
                        tools=tools,
                        chat_template=templates[name],
                        add_generation_prompt=prompt,
                        **given,
                    )
                    case["text"] = rendered[0]
                except Exception as error:
                    case["refused"] = str(error)
                cases.append(case)
    vectors = dict(templates=templates, conversations=CONVERSATIONS, tools=TOOLS, given=given, cases=cases)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(vectors, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{len(cases)} cases, {sum('refused' in case for case in cases)} of them refused")


if __name__ == "__main__":
    main()
