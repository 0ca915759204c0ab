"""Chats that use what current templates ask for, and templates written like those of the families.

The templates are our own: they use the constructs of the public ones (which are under many
licences) with markers of their own.
"""
from jinja_cases import _A, _BASE, _CALL, _RESULT, _S, _TOOLS, _U

_NESTED_TOOL = {"type": "function", "function": {
    "name": "edit_file", "description": "Changes a file.\nCarefully.",
    "parameters": {"type": "object", "required": ["path", "edits"], "properties": {
        "path": {"type": "string", "description": "Where"},
        "edits": {"type": "array", "items": {"type": "object", "properties": {
            "line": {"type": "integer", "minimum": 1}, "text": {"type": ["string", "null"]}}}},
        "mode": {"type": "string", "enum": ["insert", "replace"], "default": "replace"},
        "dry": {"type": "boolean"}, "options": {"type": "object", "additionalProperties": {"type": "number"}}}},
    "return": {"type": "string"}}}
_THINK = {"role": "assistant", "content": "It is 4.", "reasoning_content": "2 + 2\nis 4"}
_TWO_CALLS = {"role": "assistant", "content": None, "tool_calls": [
    {"type": "function", "id": "abcdefgh1", "function": {"name": "noop", "arguments": {}}},
    {"type": "function", "id": "abcdefgh2", "function": {"name": "edit_file", "arguments": {
        "path": "a/b.py", "edits": [{"line": 1, "text": "é \"q\" <b>"}, {"line": 2, "text": None}], "dry": False,
        "options": {"x": 1.5, "y": 1e-7, "z": 3}}}}]}
_TEXT_CALL = {"role": "assistant", "content": "Let me see.", "tool_calls": [
    {"type": "function", "id": "abcdefgh3", "function": {"name": "noop", "arguments": "{\"a\": 1}"}}]}
_PARTS = {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": " two\n"}]}
_PARTS_SYSTEM = {"role": "system", "content": [{"type": "text", "text": "Rules. "}]}
_DOCS = [{"title": "T1", "text": "Body & more", "doc_id": 1}, {"title": "T2", "text": "Second"}]

MORE_CHATS = [dict(_BASE, **extra) for extra in [
    {"messages": [_S, _U, _TWO_CALLS, dict(_RESULT, tool_call_id="abcdefgh1"), dict(_RESULT, tool_call_id="abcdefgh2"), _U],
     "tools": [_NESTED_TOOL] + _TOOLS},
    {"messages": [_S, _U, _TEXT_CALL, dict(_RESULT, tool_call_id="abcdefgh3")], "tools": [_NESTED_TOOL]},
    {"messages": [_U, _TWO_CALLS, dict(_RESULT, tool_call_id="abcdefgh1", content={"deep": [1, 2.0, None]})], "tools": _TOOLS},
    {"messages": [_S, _U, _THINK, _U]}, {"messages": [_U, _THINK, _U], "enable_thinking": True},
    {"messages": [_S, _U, _THINK]}, {"messages": [_PARTS_SYSTEM, _PARTS]}, {"messages": [_PARTS_SYSTEM, _PARTS, _A, _PARTS]},
    {"messages": [_U], "documents": _DOCS}, {"messages": [_S, _U], "documents": _DOCS, "tools": _TOOLS},
    {"messages": [_S, _U], "custom_tools": _TOOLS, "tools_in_user_message": False}, {"messages": [_U], "tools": _TOOLS, "enable_thinking": False},
    {"messages": [{"role": "developer", "content": "Dev rules"}, _U]}, {"messages": [_U, _A, _S, _U]},
    {"messages": [{"role": "system", "content": "Be kind. /no_think"}, _U]},
    {"messages": [{"role": "system", "content": "/system_override Only this."}, _U], "xml_tools": _TOOLS},
    {"messages": [_U], "xml_tools": _TOOLS}, {"messages": [_U], "python_tools": _TOOLS, "builtin_tools": ["brave_search", "code_interpreter"]},
    {"messages": [_U, dict(_CALL, content="<think>\nplan\n</think>\n\nCalling."), _RESULT], "tools": _TOOLS},
    {"messages": [_U], "controls": {"length": "short", "originality": "abstractive"}},
    {"messages": [_U], "thinking": True}, {"messages": [_S, _U, _A, _U, _A], "continue_final_message": True},
    {"messages": [dict(_U, content="")]}, {"messages": [dict(_S, content=""), _U]}, {"messages": [_S]},
    {"messages": [_U, dict(_RESULT, role="ipython", content=["a", 1])], "tools": _TOOLS},
    {"messages": [_U, {"role": "assistant", "content": " trailing \n"}, dict(_U, content="\n lead")]},
]]

# What each family's public template does that the ones of jinja_cases.py do not.
FAMILIES = {
    # A system message is refused; the first turn has a preamble.
    "starcoder2_instruct": """{{bos_token}}{{'You write code that works.\n\n'}}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{ raise_exception('No system messages in this template.') }}
    {%- else %}
        {%- if message['role'] == 'user' %}
{{'### Task\n' + message['content'] + '\n\n'}}
        {%- else %}
{{'### Answer\n' + message['content'] + eos_token + '\n\n'}}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{{'### Answer\n'}}""",
    # One line, `not … is defined`, closing token only after assistants.
    "deepseek_v2": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ 'U: ' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %}{{ 'A: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'A:' }}{% endif %}""",
    # Tools as XML through a macro over the schema's members; arguments one by one.
    "qwen3_coder": """{% macro extra_members(map, done) %}
    {%- if map is mapping %}
        {%- for key in map %}
            {%- if key not in done %}
                {%- if map[key] is mapping or (map[key] is sequence and map[key] is not string) %}
                    {{- '\n<' ~ key ~ '>' ~ (map[key] | tojson | safe) ~ '</' ~ key ~ '>' }}
                {%- else %}
                    {{- '\n<' ~ key ~ '>' ~ (map[key] | string) ~ '</' ~ key ~ '>' }}
                {%- endif %}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{% endmacro %}
{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- if not tools is defined %}{%- set tools = [] %}{%- endif %}
{%- if system is defined %}
    {{- "<|im|>system\n" + system }}
{%- elif tools is iterable and tools | length > 0 %}
    {{- "<|im|>system\nUse the tools." }}
{%- endif %}
{%- if tools is iterable and tools | length > 0 %}
    {{- "\n\n<tools>" }}
    {%- for tool in tools %}
        {%- if tool.function is defined %}{%- set tool = tool.function %}{%- endif %}
        {{- "\n<function>\n<name>" ~ tool.name ~ "</name>" }}
        {%- if tool.description is defined %}{{- '\n<description>' ~ (tool.description | trim) ~ '</description>' }}{%- endif %}
        {%- if tool.parameters is defined and tool.parameters is mapping and tool.parameters.properties is defined and tool.parameters.properties is mapping %}
            {%- for name, fields in tool.parameters.properties|items %}
                {{- '\n<parameter>\n<name>' ~ name ~ '</name>' }}
                {%- if fields.type is defined %}{{- '\n<type>' ~ (fields.type | string) ~ '</type>' }}{%- endif %}
                {%- set done = ['name', 'type', 'description'] %}
                {{- extra_members(fields, done) }}
                {{- '\n</parameter>' }}
            {%- endfor %}
        {%- endif %}
        {%- set done = ['type', 'properties'] %}
        {{- extra_members(tool.parameters, done) }}
        {{- '\n</function>' }}
    {%- endfor %}
    {{- "\n</tools>" }}
{%- endif %}
{%- for message in rest %}
    {%- if message.role == "assistant" and message.tool_calls is defined and message.tool_calls is iterable and message.tool_calls | length > 0 %}
        {{- '<|im|>' + message.role }}
        {%- if message.content is defined and message.content is string and message.content | trim | length > 0 %}
            {{- '\n' + message.content | trim + '\n' }}
        {%- endif %}
        {%- for call in message.tool_calls %}
            {%- if call.function is defined %}{%- set call = call.function %}{%- endif %}
            {{- '\n<call=' + call.name + '>\n' }}
            {%- if call.arguments is defined %}
                {%- for name, value in call.arguments|items %}
                    {{- '<arg=' + name + '>\n' }}
                    {%- set value = value | tojson | safe if value is mapping or (value is sequence and value is not string) else value | string %}
                    {{- value }}
                    {{- '\n</arg>\n' }}
                {%- endfor %}
            {%- endif %}
            {{- '</call>' }}
        {%- endfor %}
        {{- '<|end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}{{- '<|im|>user' }}{%- endif %}
        {{- '\n<result>\n' ~ message.content ~ '\n</result>' }}
        {%- if not loop.last and loop.nextitem.role != "tool" %}{{- '<|end|>\n' }}{%- elif loop.last %}{{- '<|end|>\n' }}{%- endif %}
    {%- else %}
        {{- '<|im|>' + message.role + '\n' + message.content + '<|end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im|>assistant\n' }}{%- endif %}
""",
    # A mode from flags in the system message, two kinds of tools, None for what is absent.
    "smollm3": """{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}
{%- if enable_thinking -%}{%- set mode = "/think" -%}{%- else -%}{%- set mode = "/no_think" -%}{%- endif -%}
{{- "<|im|>system\n" -}}
{%- if messages[0].role == "system" -%}
    {%- set system_message = messages[0].content -%}
    {%- if "/no_think" in system_message -%}{%- set mode = "/no_think" -%}
    {%- elif "/think" in system_message -%}{%- set mode = "/think" -%}{%- endif -%}
    {%- set custom = system_message.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}
{%- if "/system_override" in system_message -%}
    {{- custom.replace("/system_override", "").rstrip() -}}{{- "<|end|>\n" -}}
{%- else -%}
    {{- "## Data\n\n" -}}
    {%- set today = strftime_now("%d %B %Y") -%}
    {{- "Today: " ~ today ~ "\nMode: " + mode + "\n\n" -}}
    {%- if custom -%}{{- custom + "\n\n" -}}{%- elif mode == "/think" -%}{{- "Think first.\n\n" -}}{%- endif -%}
    {%- if xml_tools or python_tools or tools -%}
        {{- "### Tools\n\n" -}}
        {%- if xml_tools or tools -%}
            {%- if tools -%}{%- set xml_tools = tools -%}{%- endif -%}
            {%- set ns = namespace(text="Call them with JSON:\n<tools>\n") -%}
            {%- for tool in xml_tools[:] -%}
                {%- set ns.text = ns.text ~ (tool | string) ~ "\n" -%}
            {%- endfor -%}
            {{- ns.text + "</tools>\n\n" -}}
        {%- endif -%}
        {%- if python_tools -%}
            {%- set ns = namespace(text="Write Python:\n<code>\n") -%}
            {%- for tool in python_tools[:] -%}{%- set ns.text = ns.text ~ (tool | string) ~ "\n" -%}{%- endfor -%}
            {{- ns.text + "</code>\n\n" -}}
        {%- endif -%}
    {%- endif -%}
    {{- "<|end|>\n" -}}
{%- endif -%}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else "" -%}
    {%- if message.role == "user" -%}
        {{- "<|im|>" + message.role + "\n" + content + "<|end|>\n" -}}
    {%- elif message.role == "assistant" -%}
        {% generation %}
        {%- if mode == "/think" -%}
            {{- "<|im|>assistant\n" + content.lstrip("\n") + "<|end|>\n" -}}
        {%- else -%}
            {{- "<|im|>assistant\n" + "<think>\n\n</think>\n" + content.lstrip("\n") + "<|end|>\n" -}}
        {%- endif -%}
        {% endgeneration %}
    {%- elif message.role == "tool" -%}
        {{- "<|im|>" + "user\n" + content + "<|end|>\n" -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- if mode == "/think" -%}{{ "<|im|>assistant\n" }}{%- else -%}{{ "<|im|>assistant\n" + "<think>\n\n</think>\n" }}{%- endif -%}
{%- endif -%}
""",
    # Documents, controls and sentences that depend on combinations of both.
    "granite_documents": """{# a comment with {{ braces }} -#}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system_message = "Cutoff: April 2024.\nToday: " + strftime_now('%B %d, %Y') + "." %}
    {%- if tools and documents %}
        {%- set system_message = system_message + "\nTools and documents." %}
    {%- elif tools %}{%- set system_message = system_message + "\nTools." %}
    {%- elif documents %}{%- set system_message = system_message + "\nDocuments." %}
    {%- elif thinking %}{%- set system_message = system_message + "\nThoughts first." %}
    {%- else %}{%- set system_message = system_message + "\nPlain." %}{%- endif %}
    {%- if 'citations' in controls and documents %}{%- set system_message = system_message + '\nCite.' %}{%- endif %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '<|r|>system<|/r|>' + system_message + '<|t|>\n' }}
{%- if tools %}{{- '<|r|>tools<|/r|>' }}{{- tools | tojson(indent=4) }}{{- '<|t|>\n' }}{%- endif %}
{%- if documents %}
    {%- for document in documents %}
        {{- '<|r|>document {"id": "' + document['doc_id'] | string + '"}<|/r|>\n' }}
        {{- document['text'] + '<|t|>\n' }}
    {%- endfor %}
{%- endif %}
{%- for message in loop_messages %}
    {{- '<|r|>' + message['role'] + '<|/r|>' + message['content'] + '<|t|>\n' }}
    {%- if loop.last and add_generation_prompt %}
        {{- '<|r|>assistant' }}
        {%- if controls %}{{- ' ' + controls | tojson() }}{%- endif %}
        {{- '<|/r|>' }}
    {%- endif %}
{%- endfor %}
""",
    # A prompt from parts, a map of names, filters over possibly absent lists.
    "mistral_small": """{%- set today = strftime_now("%Y-%m-%d") %}
{%- set default = "You are a model.\nToday is " + today + "." %}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- if messages[0]['content'] is string %}
        {%- set system = messages[0]['content'] %}
    {%- else %}
        {%- set system = messages[0]['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('') %}
    {%- endif %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system = default %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '[SYS]' + system + '[/SYS]' }}
{%- set names = {'user': 'INST', 'tool': 'RESULT'} %}
{%- set special = tools | selectattr('type', 'equalto', 'code_interpreter') | list | length > 0 %}
{%- if tools is defined and tools is not none and tools|length > 0 %}
    {{- '[TOOLS]' + (tools| tojson) + '[/TOOLS]' + special|string }}
{%- endif %}
{%- for message in loop_messages %}
    {%- if message.role in names %}
        {{- '[' ~ names[message['role']] ~ ']' }}
        {%- if message['content'] is string %}
            {{- message['content'] }}
        {%- else %}
            {%- for block in message['content'] | selectattr('type', 'in', ['text', 'image']) | list %}
                {%- if block['type'] == 'text' %}{{- block['text'] }}{%- else %}{{- '[IMG]' }}{%- endif %}
            {%- endfor %}
        {%- endif %}
        {{- '[/' ~ names[message.role] ~ ']' }}
    {%- elif message['role'] == 'assistant' %}
        {%- if (message.content is not defined or message.content is none or message.content|length == 0) and (message.tool_calls is not defined or message.tool_calls is none or message.tool_calls|length == 0) %}
            {{- raise_exception('An assistant must say something or call something: ' ~ loop.index) }}
        {%- endif %}
        {%- if message['content'] is string %}{{- message['content'] }}{%- else %}{{- message['content'] | map(attribute='text') | join }}{%- endif %}
        {%- if message['tool_calls'] is defined and message['tool_calls'] is not none %}
            {%- for call in message['tool_calls'] %}
                {%- set arguments = call['function']['arguments'] %}
                {%- if arguments is not string %}{%- set arguments = arguments|tojson|safe %}{%- elif arguments == '' %}{%- set arguments = '{}' %}{%- endif %}
                {{- '[CALL]' + call['function']['name'] + '[ARGS]' + arguments }}
            {%- endfor %}
        {%- endif %}
        {{- eos_token }}
    {%- else %}
        {{- raise_exception('Only user, assistant and tool are supported, got ' + message['role'] + '.') }}
    {%- endif %}
{%- endfor %}
""",
}
