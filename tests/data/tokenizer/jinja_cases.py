"""The cases of make_jinja_goldens.py. The templates are our own, in the manner of public families:
the constructs are theirs, the texts are not."""

V = {
    "n": 7, "neg": -3, "f": 2.5, "s": "Hello, World", "empty": "", "t": True, "no": None,
    "u": "naïve Straße 日本 😀", "ws": "  \t padded \n ", "l": [3, 1, 2], "ls": ["b", "A", "c", "a"],
    "d": {"b": 1, "a": [1, 2, {"x": None}], "items": 5}, "nested": [{"role": "user", "content": "hi", "n": 2},
    {"role": "assistant", "content": None, "n": 1}, {"role": "user", "content": "bye", "n": 3}],
    "big": 9007199254740993, "q": "it's \"quoted\"\\ \n\t\x01", "mixed": [1, "a", 2.0, None, True],
}

_X = """
1 + 2 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7 % -3 | 7 / 2 | 2 ** 10 | 2 ** -1 | 2 ** 3 ** 2 | -2 ** 2 | 7.5 // 2
-7.5 % 2 | 1e3 | 1e16 | 1e15 | 1.0 | 0.1 + 0.2 | 1e-5 | 123456789.123 | 1_000 | 0x1F | 0b101 | 0o17 | 3.0 * 2 | 1 / 3
n + f | n * "ab" | [1] * 3 | "a" + "b" | "a" ~ 1 ~ none ~ true ~ 2.50 | [1] + [2] | (1,) + (2,) | 1 + "a" | "a" + 1 | none + 1
n / 0 | n // 0 | n % 0 | 1.0 / 0 | true + true | true == 1 | 1 == 1.0 | "1" == 1 | none == none | [1,2] == [1,2] | {"a":1} == {"a":1.0}
1 < 2 < 3 | 1 < 3 < 2 | 3 > 2 >= 2 | "a" < "b" | "a" < 1 | [1,2] < [1,3] | none < 1 | n != 7 | not n | not not n | n == 7 and s
n and 0 or "x" | false or none | 0 and x.y | "World" in s | "xyz" not in s | 3 in l | 4 in l | "a" in d | "z" in d | 1 in "abc" | none in [none]
missing | missing.x | missing["x"] | missing + 1 | missing ~ "a" | missing == missing | missing is defined | missing | default("d") | missing|length
missing|upper | missing < 1 | missing in [1] | 1 in missing | missing() | missing|list | missing|join | -missing | missing|int | missing|first | missing|tojson
d.a | d["a"] | d["items"] | d.get("b") | d.get("zz") | d.get("zz", 4) | d.keys()|list | d.values()|list | d.items()|list | d.nothing | d.nothing.more
d.a[2].x | d.a[-1] | d.a[10] | d.a[0:2] | l[::-1] | l[1:] | l[:-1] | l[::2] | l[5:1:-2] | l[::0] | s[0] | s[-1] | s[100] | s[1:5] | s[::-1] | u[6:14] | u[-1]
u[::3] | l["0"] | l.0 | (1,2,3)[1] | (1,) | () | (1) | [] | {} | [1,[2,[3]]] | {"a": {"b": [1]}} | {1: 2, none: 3, true: 4}| {[1]: 2}
s.upper() | s.lower() | s.title() | u.upper() | u.title() | "hELLO wORLD x".title() | "they're bill's".title() | s.capitalize() | "éa B".capitalize() | "ΟΔΟΣ".lower() | "ﬁx".upper()
ws.strip() | ws.lstrip() | ws.rstrip() | "xxaxx".strip("x") | "abcba".strip("ab") | "a.b.c".split(".") | "a b  c ".split() | "a b  c".split(" ") | "a.b.c".split(".", 1) | "a.b.c".split(".", -1)
" a b c ".split(none, 1) | "".split() | "".split(",") | "a,b".split("") | "a.b.c".rsplit(".", 1) | "a\\nb\\r\\nc\\n".splitlines() | "a".split(1) | s.startswith("Hello") | s.endswith(("x", "World")) | s.startswith(1)
s.replace("l", "L") | s.replace("l", "L", 1) | "aaa".replace("", "-") | "".replace("", "x") | "aaa".replace("aa", "b") | s.find("o") | s.rfind("o") | s.find("zz") | s.index("zz") | u.find("日") | s.count("l") | "aaaa".count("aa")
"-".join(["a","b"]) | ",".join([1]) | "".join([]) | "abc".isdigit() | "123".isdigit() | "".isdigit() | "abc".isalpha() | "a1".isalnum() | " ".isspace() | "ABC".isupper() | "abc".islower() | "aB".islower()
"abc".removeprefix("a") | "abc".removesuffix("bc") | "{} and {}".format(1, "x") | "{0}{1}{0}".format("a", "b") | "{x!r}".format(x="q") | "{{}}".format() | "{}".format() | "{".format(1)
"%s is %d" % ("x", 3) | "%5.2f|%-5s|%05d" % (3.14159, "ab", 42) | "%x %X %o %#x" % (255, 255, 8, 255) | "%s" % 5 | "%s" % [1] | "%(a)s" % {"a": 1} | "%d" % "x" | "%s %s" % (1,) | "%s" % (1, 2) | "%%" % () | "100%" % () | "%r" % "a" | "%e" % 12345.678 | "%g" % 0.0001 | "%+d" % 5 | "%c" % 65
s|length | u|length | l|length | d|length | n|length | none|length | s|upper|lower | s|trim | ws|trim | "xax"|trim("x") | s|title | "foo-bar (baz) [qux] it's"|title | "éÀ ß"|title | s|capitalize | none|upper
s|replace("o", "0") | s|replace("o", "0", 1) | n|replace("7", "8") | l|join(", ") | l|join | nested|join("-", attribute="n") | mixed|join("|") | s|join("-") | none|join | ls|sort | ls|sort(case_sensitive=true) | ls|sort(reverse=true) | l|sort | mixed|sort | nested|sort(attribute="n")|map(attribute="n")|list
l|first | l|last | []|first | []|last | s|first | s|last | l|reverse|list | s|reverse | l|sum | nested|sum(attribute="n") | l|sum(start=10) | ls|sum | l|max | l|min | ls|min | []|max | [1,1,2,2.0]|unique|list | ls|unique|list | ["a","A"]|unique|list | ["a","A"]|unique(case_sensitive=true)|list
nested|map(attribute="role")|list | nested|map(attribute="zz", default="-")|list | ls|map("upper")|list | ls|map("replace", "a", "x")|join | nested|selectattr("role", "equalto", "user")|list|length | nested|rejectattr("role", "equalto", "user")|map(attribute="n")|list | nested|selectattr("content")|list|length | nested|selectattr("content", "none")|list|length
[1,2,3,4]|select("odd")|list | [1,2,3,4]|reject("odd")|list | [0,1,"",none]|select|list | [1,2,3]|select("gt", 1)|list | ls|select("in", ["a","b"])|list | nested|selectattr("nope", "defined")|list | nested|map("nofilter")|list | l|select("notest")|list | l|map|list
d|items|list | d|dictsort | {"b":1,"A":2}|dictsort | {"b":1,"A":2}|dictsort(true) | {"b":1,"A":2}|dictsort(by="value") | {"b":1,"A":2}|dictsort(reverse=true) | l|items|list | missing|items|list | d|list | s|list | n|list | "abc"|list
n|string | f|string | l|string | none|string | "42"|int | "4x"|int | "4x"|int(9) | " 42 "|int | "0x1F"|int(0, 16) | "3.9"|int | f|int | none|int | l|int | "ff"|int(0,16) | "2.5"|float | "x"|float | "x"|float(1.5) | n|float | "1e3"|float | "inf"|float | "1_000"|int
neg|abs | f|abs | s|abs | 2.567|round | 2.567|round(2) | 2.5|round | 3.5|round | 2.1|round(0, "ceil") | 2.9|round(0, "floor") | 7|round | 1234|round(-2) | s|default("x") | empty|default("x") | empty|default("x", true) | no|default("x") | no|default("x", boolean=true) | missing|d
d|tojson | l|tojson(indent=2) | d|tojson(indent=4) | q|tojson | u|tojson | {"a":[],"b":{}}|tojson(indent=2) | [1.0, 1e20, 1.5e-7, true, none]|tojson | {1: 2, none: 3}|tojson | {"b":1,"a":2}|tojson(sort_keys=true) | [1,2]|tojson(separators=(",", ":")) | u|tojson(ensure_ascii=true) | missing|tojson | range|tojson
"a\\nb\\n\\nc"|indent | "a\\nb"|indent(2, true) | "a\\n\\nb"|indent(2, blank=true) | "a\\nb"|indent("> ") | "a\\nb"|indent(width=2, first=true) | "<a href='x'>&\\"</a>"|escape | "<a>"|e | "<a>"|safe | "a b c"|wordcount | [1,2,3,4,5]|batch(2)|list | [1,2,3]|batch(2, 0)|list | "%s-%s"|format(1, 2) | "%(a)s"|format(a=3) | d|attr("a") | (s|attr("upper"))()
n is odd | n is even | n is number | f is number | t is number | t is integer | n is integer | f is float | n is float | t is boolean | t is true | t is false | n is true | s is string | no is none | no is not none | d is mapping | l is mapping | l is sequence | s is sequence | d is sequence | n is sequence | l is iterable | n is iterable | missing is iterable | missing is sequence
n is divisibleby 7 | n is divisibleby(2) | n is equalto 7 | n is eq(7) | n is ne 7 | n is gt 3 | n is lt 3 | n is in [7] | "a" is in "abc" | n is sameas n | none is sameas none | s is lower | "abc" is lower | "ABC" is upper | s is callable | range is callable | missing is undefined | s is not string | s is nosuchtest | n is in
1 if t else 2 | 1 if missing else 2 | (1 if false) | 1 if false | "x" if s == "y" else "z" if n == 7 else "w" | (1 if t else 2) + 1 | [1 if t else 2, 3] | l|length > 2 and "big" or "small" | -n|abs | (-n)|abs | not n|length | - -n | +n | n.real2 | "a" "b" "c" | 'it\\'s' | "tab\\there" | "\\u00e9\\x41" | "\\q" | '"' ~ "'"
range(3)|list | range(1, 7, 2)|list | range(5, 0, -2)|list | range(0)|list | range(1, 2, 0) | range("a") | range(10)|sum | range(3)[1] | dict(a=1, b=2) | dict([["x", 1]]) | dict({"a": 1}, b=2) | namespace(a=1).a | namespace({"z": 3}).z | namespace(a=1).b | raise_exception("no") | strftime_now("%Y-%m-%d %H:%M") | strftime_now("%d %b %Y") | strftime_now("%B %-d, %Y")
l.append(1) | d.update({}) | d.pop("a") | s.__class__ | l.sort() | l.index(1) | l.index(99) | l.count(1) | l.copy() | d.copy() == d | "".__class__.__mro__ | n() | s() | s.nothing() | nested[0].role | nested[0]["role"] | nested[1].content is none | nested[-1].content[:2] | nested.0.role | nested[0:2]|map(attribute="role")|join(",")
d.b.c is defined | d.zz is defined | d.zz.c is defined | d["b"] is defined and d["b"] == 1 | (nested|first).role | (l|last) + 1 | l|last + 1 | s|length * 2 | [l|length, s|upper] | {"k": l|first}["k"] | s.split(", ")[1] | s.split(", ")|last|lower | nested|length == 3 | not (n == 7) | not n == 7 | n in l or s in ls | "%s" % s|upper
l | ls | d | nested | mixed | q | [q] | ["\\x7f\\u200b\\u00e9"] | ["it's"] | ['"'] | ["'\\""] | u | [u] | t | no | f | big | big + 1 | -9223372036854775807 - 1 | 5 // 0.0 | 1e308 * 10 | [1e22, 1e21, 123456789012345680.0, 0.0001, 0.00001] | 1.5e300 | -0.0 | 100.0 | 2.50 | 1e100
s|nosuchfilter | s|upper("x") | s|join(1, 2, 3) | s|replace("a") | n.foo.bar | l.foo() | none.foo | none["a"] | none.foo.bar | t.foo | 5.foo | 5 .foo | [1,2 | (1 | {"a" | 1 + | * 2 | a b | "abc | {{ | 1 }} | @ | $x | a.1.2 | a..b | a.(b) | | x | |upper | is x | not | ~ 1 | 1 ~
(nested|selectattr("role", "equalto", "nobody")) is defined | "yes" if nested|selectattr("role", "equalto", "nobody") else "no" | "yes" if nested|selectattr("role", "equalto", "nobody")|list else "no" | (nested|map(attribute="n"))|length | (nested|map(attribute="n"))|first | (l|reverse)[0] | (nested|map(attribute="n"))|sort | d.items()|length | (d.items())[0] | d.items()|first | d.keys()|sort | l|reverse is iterable
s is string and s|length > 3 | s is defined and s is not none | d is mapping and "a" in d | (s|string)[0:3] ~ "..." | l|map("string")|join("") | l|map("int")|sum | nested|map(attribute="content")|select("string")|join(" / ") | [["a", 1], ["b", 2]]|map("first")|list | [[1, 2], [3]]|sum(start=[]) | (1, 2) == [1, 2] | (1, 2) in [(1, 2)] | {"a": 1} in [{"a": 1}]
"x" * 0 | "x" * -1 | 0 * "x" | 2.5 * "x" | "ab" < "abc" | "Z" < "a" | "é" > "z" | 1 < true | [] < [1] | {} < {} | (1, "a") < (1, "b") | 0.1 + 0.7 | 1e0 | 3 // 1.5 | 3 % 1.5 | -3 % 1.5 | 7 // -2 | -7 // -2 | 7.0 // -2 | 2 ** 62 | 2 ** 0.5 | 0 ** 0 | 0 ** -1
"""


def _expressions():
    rows = []
    for line in _X.strip().split("\n"):
        for text in line.split(" | "):
            rows.append(("{{ " + text + " }}", V))
    return rows


EXPRESSIONS = _expressions()

STATEMENTS = [(t, V) for t in [
    "a\n{% if t %}\n  b\n{% endif %}\nc\n", "a\n  {% if t %}\n  b\n  {% endif %}\nc", "a  {%- if t -%}  b  {%- endif -%}  c",
    "a\n  {%+ if t %}\n b\n  {%+ endif %}\nc", "a {{- n -}} b", "a\n\n{{- n }}\n\n", "  {# comment #}\n  x", "a {#- c -#} b", "{# multi\nline #}\nx",
    "x {# unclosed", "{% if t %}a{% else %}b{% endif %}", "{% if no %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% if missing %}a{% endif %}|",
    "{% if t %}\n\n  text\n\n{% endif %}\n\nend\n\n", "\n\n{% set x = 1 %}\n\n{{ x }}\n", "line1\r\n{% if t %}\r\nline2\r{% endif %}\nend",
    "{% raw %}{{ x }} {% if %}{% endraw %}|", "a {%- raw -%}  {{ x }}  {%- endraw -%} b", "{% raw %}\n x\n{% endraw %}\ny",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in l %}\n- {{ x }}\n{% endfor %}\nend", "{% for x in [] %}x{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}", "{% for x in l if x > 9 %}{{ x }}{% else %}empty{% endfor %}",
    "{% for x in l %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.depth }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem|default('-') }}<{{ x }}>{{ loop.nextitem|default('-') }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1,1,2,2,1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|dictsort %}{{ k }} {% endfor %}", "{% for k in d %}{{ k }}{% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }} {% endfor %}", "{% for a, b in [[1, 2, 3]] %}x{% endfor %}", "{% for c in 'né😀' %}[{{ c }}]{% endfor %}",
    "{% for x in n %}x{% endfor %}", "{% for x in missing %}x{% else %}none{% endfor %}", "{% for x in none %}x{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if loop.first %}{{ x }}{{ y }} {% endif %}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in range(10) %}{% if x == 3 %}{% continue %}{% endif %}{% if x == 6 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% break %}{% else %}else{% endfor %}", "{% for x in l %}{% continue %}{% else %}else{% endfor %}", "{% break %}", "{% if t %}{% continue %}{% endif %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set ns = namespace(x=0, l=[]) %}{% for i in l %}{% set ns.x = ns.x + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.x }} {{ ns.l }}",
    "{{ '<b>'|safe + '<i>' }} {{ '<b>' + '<i>'|safe }} {{ '<b>'|safe ~ '<i>' }} {{ ('<b>'|safe ~ '<i>') + '&' }} {{ ('<b>'|escape) + '\"' }}",
    "{% set x = '<&>'|safe %}{{ x * 2 + '<' }} {{ x[:2] + '<' }} {{ x[0] + '<' }} {{ x.upper() + '<' }} {{ (x|upper) + '<' }} {{ (x|trim) + '<' }} {{ (x|title) + '<' }}",
    "{% set x = '<%s>'|safe %}{{ x % '<' }} {{ x|format('<') }} {{ x % 3 }} {{ (x|replace('s', '<')) + '<' }} {{ x.replace('s', '<') }} {{ [x] }} {{ x|tojson + '<' }}",
    "{{ ', '|safe.join(l) }}", "{% set c = ','|safe %}{{ c.join(['<', '>'|safe]) }} {{ ['<', c]|join('>') }} {% for p in 'a,<'|safe.split(',') %}{{ p }}{% endfor %}",
    "{% set c = 'a,<'|safe %}{% for p in c.split(',') %}{{ p + '&' }} {% endfor %}{{ '{}<'.format(c) + '<' }} {{ ('{}<'|safe).format('<') }} {{ (c|string) + '<' }} {{ (c|indent) + '<' }}",
    "{{ (s|safe) == s }} {{ 'W' in (s|safe) }} {{ (s|safe) is string }} {{ (s|safe)|length }} {{ (none|safe) + '<' }} {{ (l|safe) + '>' }} {{ 1 + ('a'|safe) }}",
    "{% set x = '<'|safe %}{% set y %}{{ x }}{% endset %}{{ y + '<' }} {{ (x if t else 1) + '<' }} {{ (x|default('a')) + '<' }} {{ x ~ '<' + '>' }}",
    "{% set a = namespace(role='user', n=1) %}{% for m in [a] + nested %}{{ m.role }} {{ m.n }} {% endfor %}{% set a.n = 5 %}{{ [[a]][0][0].n }} {{ {'k': a}.k.role }}",
    "{% set a = namespace(n=1) %}{% set m = [a] + l %}{{ m|length }} {{ m[0].n }} {{ a in m }} {{ (m|first).n }} {{ m|tojson }}",
    "{% set n.x = 1 %}", "{% set d.x = 1 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a, b = [1] %}",
    "{% set x %}block {{ n }}{% endset %}[{{ x }}]", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}abc{% endset %}{{ x }}",
    "{% set x %}\n  a\n{% endset %}[{{ x }}]", "{% set true = 1 %}", "{% set x = %}", "{% set %}", "{% set 1 = 2 %}", "{% for x l %}{% endfor %}", "{% for in l %}{% endfor %}",
    "{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c='z') }} {{ m(a=5) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(4) }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro fib(n) %}{% if n < 2 %}{{ n }}{% else %}{{ fib(n - 1)|int + fib(n - 2)|int }}{% endif %}{% endmacro %}{{ fib(9) }}",
    "{% macro m() %}{{ x }}{% endmacro %}{% set x = 5 %}{{ m() }}", "{% macro m() %}{% set x = 9 %}{% endmacro %}{% set x = 5 %}{{ m() }}{{ x }}",
    "{% macro m(x) %}[{{ caller(x) }}]{% endmacro %}{% call(y) m(3) %}{{ y * 2 }}{% endcall %}", "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{{ m() }}", "{% macro m(x) -%}\n  {{ x }}\n{%- endmacro %}\n[{{ m('a') }}]", "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'a': 2}) }}", "{% macro m(x) %}{{ x|upper }}{% endmacro %}{{ m('a') ~ m('b') }} {{ m('a')|length }} {{ m is callable }} {{ m.name }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter upper|replace('A', 'x') %}abc{% endfilter %}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}",
    "{% generation %}text {{ n }}{% endgeneration %}", "{% generation %}\n  a\n{% endgeneration %}\nb", "{% print 1 + 1 %}", "{% print 1, 2 %}", "{{ 1, 2 }}", "{{ }}", "{% %}", "{% foo %}", "{% endif %}",
    "{% if t %}", "{% for x in l %}", "{% if t %}{% endfor %}", "{% if %}{% endif %}", "{% macro %}{% endmacro %}", "{{ 'a' }", "{{ 'a' ", "{% if t ", "}}", "%}", "{ { x } }", "{", "a{b", "{%", "{{", "#}",
    "{% if t %}a{% elif %}b{% endif %}", "{% else %}", "{{ {'a': {'b': 1}}.a.b }}", "{{ {'a': 1}['a'] }}{{ [1,2][0] }}", "{{ \"}}\" }}", "{% set x = '%}' %}{{ x }}", "{{ '{{' }}",
    "{%- set x = 1 -%}\n\n  {{ x }}", "  {% set x = 1 %}  {{ x }}  ", "  {%- if t %}  a  {%- endif %}  ", "\t{% if t %}\n\ta\n\t{% endif %}\n\tb", "a {% if t %} b {% endif %} c", "x\n  y {% if t %}\nz{% endif %}",
    "{% for m in nested %}\n{{ m.role }}: {{ m.content }}\n{% endfor %}\n", "{% for m in nested -%}\n{{ m.role }}\n{%- endfor %}", "{% for m in nested %}{{ m['role'] ~ ': ' ~ (m.content or 'n/a') }}\n{% endfor %}",
    "{% if 'a' in d and d.a is iterable and d.a is not mapping %}yes{% endif %}", "{% if not missing is defined %}u{% endif %}", "{% if missing is not defined or missing is none %}u{% endif %}",
    "{% set x = missing if missing is defined else 'dflt' %}{{ x }}", "{% set loop_messages = nested[1:] %}{% for m in loop_messages %}{{ loop.index0 % 2 == 0 }} {% endfor %}",
    "{% if (nested|length) % 2 == 0 %}even{% else %}odd{% endif %}", "{{ raise_exception('Roles must alternate') if nested[0].role != 'system' else '' }}",
    "{% for x in l recursive %}{% endfor %}|" if False else "{{ l|length }}", "{% for x in l|reverse %}{{ x }}{% endfor %}", "{% for x in l[::-1] %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for i in range(nested|length - 1, -1, -1) %}{{ nested[i].n }}{% endfor %}", "{% set x = [] %}{% set _ = x.append(1) %}{{ x }}", "{% set s2 = s.split(',')[0] %}{{ s2|trim|lower }}",
    "{% set content %}{% for m in nested %}{{ m.n }}{% endfor %}{% endset %}{{ content|int + 1 }}", "{% if l %}{% for x in l %}{% if x == 2 %}{% set found = x %}{% endif %}{% endfor %}{{ found }}{% endif %}",
    "{{ loop }}", "{% for x in l %}{% set y = loop.index %}{% endfor %}{{ y }}", "{% set a = 1 %}{% set b = a %}{% set a = 2 %}{{ a }}{{ b }}", "{% if t: %}x{% endif %}", "{% for x in [1,2,3]: %}{{ x }}{% endfor %}",
    "{{ 1 if t }}{{ 2 if no }}|", "a\n{{ '\n' }}\nb", "{% if t %}{{ n }}\n{% endif %}x", "{{ n }}\n{{ n }}\n", "{% if t -%}\n\n a{% endif %}", "{%if t%}x{%endif%}", "{{n}}{{s|upper}}", "{% if t and\n  n == 7 %}x{% endif %}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace(found=false) %}{% for x in l %}{% if not ns.found and x == 1 %}{% set ns.found = true %}{{ x }}{% endif %}{% endfor %}{{ ns.found }}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{{ 'x'.join(ls|map('lower')) }}", "{{ ls|map('lower')|sort|join }}",
    "{{ nested | map(attribute='role') | unique | list }}", "{{ (nested | selectattr('role', 'equalto', 'user') | list)[-1].content }}", "{{ nested|selectattr('n', 'gt', 1)|map(attribute='content')|join(', ') }}", "{{ d.items() }}" if False else "{{ d.items()|list }}",
]]

# Chats. bos_token and the rest are what transformers passes.
_BASE = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True, "tools": None, "documents": None}
_TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather \"now\" in <city> & more",
           "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Name"},
           "unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["city"]}}},
          {"type": "function", "function": {"name": "noop", "description": "", "parameters": {"type": "object", "properties": {}}}}]
_U = {"role": "user", "content": " Write a sort in C++.\n"}
_A = {"role": "assistant", "content": "```cpp\nint main() {}\n```"}
_S = {"role": "system", "content": "Be brief. "}
_CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "call00001", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "unit": "c"}}}]}
_RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "{\"t\": 3.5}"}
CHATS = [dict(_BASE, **extra) for extra in [
    {"messages": [_U]}, {"messages": [_S, _U]}, {"messages": [_S, _U, _A, _U]}, {"messages": [_U, _A]}, {"messages": [_U], "add_generation_prompt": False},
    {"messages": [_S, _U, _A], "add_generation_prompt": False}, {"messages": []}, {"messages": [_A, _U]}, {"messages": [_U, _U]}, {"messages": [{"role": "alien", "content": "?"}]},
    {"messages": [_S, _U], "tools": _TOOLS}, {"messages": [_U, _CALL, _RESULT], "tools": _TOOLS}, {"messages": [_U, _CALL, _RESULT, _RESULT, {"role": "assistant", "content": "3.5 °C"}, _U], "tools": _TOOLS},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "image"}, {"type": "text", "text": "part two"}]}]},
    {"messages": [{"role": "user", "content": "日本語 😀 'quotes' \"double\" <tags> & {{ braces }}"}]}, {"messages": [{"role": "user"}]}, {"messages": [{"role": "user", "content": None}]},
    {"messages": [_S, _S, _U]}, {"messages": [_U, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nanswer"}, _U]}, {"messages": [_U], "date_string": "1 Feb 2026", "enable_thinking": False},
]]

TEMPLATES = {
    "chatml": """{%- for m in messages %}
    {%- if loop.first and m.role != 'system' %}
        {{- '<|im_start|>system\\nYou help with code.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "chatml_plain": """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
Default<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}""",
    "qwen_tools": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Functions\\n\\nSignatures between <tools></tools>:\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\nAnswer with {\\"name\\": <name>, \\"arguments\\": <json>}<|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi and message.role == "user" and message.content is string and not (message.content.startswith('<r>') and message.content.endswith('</r>')) %}
        {%- set ns.multi = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning is string %}
            {%- set reasoning = message.reasoning %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if call.function %}{%- set call = call.function %}{%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- call.name }}
                {{- '", "arguments": ' }}
                {%- if call.arguments is string %}{{- call.arguments }}{%- else %}{{- call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<r>\\n' }}
        {{- content }}
        {{- '\\n</r>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}""",
    "llama3": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not in_user is defined %}
    {%- set in_user = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system message may be given; it comes first. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|head|>system<|/head|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: shell\\n" }}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{%- if tools is not none and not in_user %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system }}
{{- "<|eot|>" }}
{%- if in_user and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there is none") }}
{%- endif %}
    {{- '<|head|>user<|/head|>\\n\\n' -}}
    {{- "Functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first + "<|eot|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|/head|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("Only one call at once") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|head|>assistant<|/head|>\\n\\n' -}}
        {{- '{"name": "' + call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|head|>ipython<|/head|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|/head|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("Roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/TOOLS]" }}
            {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[CALLS] [" }}
        {%- for call in message.tool_calls %}
            {%- set out = call.function|tojson %}
            {{- out[:-1] }}
            {%- if not call.id is defined or call.id|length != 9 %}
                {{- raise_exception("Call ids are nine characters") }}
            {%- endif %}
            {{- ', "id": "' + call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + message.tool_call_id + '"}[/RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
""",
    "deepseek_coder": """{% if not add_generation_prompt is defined %}
{% set add_generation_prompt = false %}
{% endif %}
{%- set ns = namespace(found=false) -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- set ns.found = true -%}
    {%- endif -%}
{%- endfor -%}
{{bos_token}}{%- if not ns.found -%}
{{'You are a programming assistant.\\n'}}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
{{ message['content'] }}
    {%- else %}
        {%- if message['role'] == 'user' %}
{{'### Instruction:\\n' + message['content'] + '\\n'}}
        {%- else %}
{{'### Response:\\n' + message['content'] + '\\n<|EOT|>\\n'}}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}
{{'### Response:'}}
{% endif %}""",
    "gemma": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<turn>' + role + '\\n' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '</turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<turn>model\\n'}}
{%- endif -%}
""",
    "phi3": """{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "granite": """{%- if messages[0]['role'] == 'system' %}
     {%- set system_message = messages[0]['content'] %}
     {%- set loop_messages = messages[1:] %}
 {%- else %}
     {%- set system_message = "Today is " + strftime_now('%B %d, %Y') + ".\\nYou are a model." %}
     {%- if tools and documents %}
         {%- set system_message = system_message + " Tools and documents." %}
     {%- elif tools %}
         {%- set system_message = system_message + " You have tools." %}
     {%- endif %}
     {%- set loop_messages = messages %}
 {%- endif %}
 {{- '<|role|>system<|/role|>' + system_message + '<|eot|>\\n' }}
 {%- if tools %}
     {{- '<|role|>tools<|/role|>' }}
     {{- tools | tojson(indent=4) }}
     {{- '<|eot|>\\n' }}
 {%- endif %}
 {%- for message in loop_messages %}
     {{- '<|role|>' + message['role'] + '<|/role|>' + message['content'] + '<|eot|>\\n' }}
     {%- if loop.last and add_generation_prompt %}
         {{- '<|role|>assistant' }}
             {%- if controls %}
                 {{- ' ' + controls | tojson()}}
             {%- endif %}
         {{- '<|/role|>' }}
     {%- endif %}
 {%- endfor %}
""",
    "codellama": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content | trim + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content | trim + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "macros": """{%- macro kind(spec) -%}
    {%- if spec.type == "string" -%}
        {%- if spec.enum -%}
            {%- for e in spec.enum -%}{{- '"' + e + '"' -}}{%- if not loop.last %}{{- " | " -}}{%- endif -%}{%- endfor -%}
        {%- else -%}string{%- endif -%}
    {%- elif spec.type == "object" -%}
        {%- if spec.properties -%}
            {{- "{\\n" -}}
            {%- for name, inner in spec.properties.items() -%}
                {%- set mark = "" if name in (spec.required or []) else "?" -%}
                {{- "  " ~ name ~ mark ~ ": " ~ kind(inner) ~ (",\\n" if not loop.last else "\\n") -}}
            {%- endfor -%}
            {{- "}" -}}
        {%- else -%}{}{%- endif -%}
    {%- else -%}any{%- endif -%}
{%- endmacro -%}
{%- macro declare(tools) -%}
    {%- for tool in tools %}{%- set f = tool.function %}
// {{ f.description or 'no description' }}
type {{ f.name }} = (_: {{ kind(f.parameters) }}) => any;
    {%- endfor %}
{%- endmacro -%}
{%- set system = (messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | join('\\n')) | default('none', true) -%}
<system>{{ system }}</system>
{%- if tools %}
<tools>{{ declare(tools) }}
</tools>
{%- endif %}
{%- for message in messages if message.role != 'system' %}
<{{ message.role }} n="{{ loop.index }}/{{ loop.length }}">
{%- if message.content is string %}
    {{- message.content | trim | indent(2) }}
{%- elif message.content is sequence and message.content is not mapping %}
    {%- for part in message.content | selectattr('type', 'in', ['text', 'code']) %}
        {{- part.text }}{{ "" if loop.last else "\\n" }}
    {%- endfor %}
{%- else %}
    {{- '(' ~ message.content ~ ')' }}
{%- endif %}
{%- for call in message.tool_calls | default([]) %}
 -> {{ call.function.name }}({% for k, v in call.function.arguments | dictsort %}{{ k }}={{ v | tojson }}{{ ", " if not loop.last }}{% endfor %})
{%- endfor %}</{{ message.role }}>
{%- endfor %}
{% generation %}
{{ '<assistant>' if add_generation_prompt -}}
{% endgeneration %}
""",
}
