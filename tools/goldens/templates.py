"""Writes tests/fixtures/tokenizer/templates.json: what jinja2 makes of templates, under the settings of transformers.

    python tools/goldens/templates.py

Needs transformers and jinja2. Each line of the output is a template and its text, null where jinja2 refuses it. All see
the same conversation and variables, which the file begins with.
"""

import json
import pathlib

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tokenizer" / "templates.json"
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Ça va? \U0001f99c\n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\n    return x\n"},
    {"role": "user", "content": "it's \"so\""},
]
VARIABLES = {
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "n": 7,
    "half": 2.5,
    "words": ["pear", "Apple", "fig", "apple"],
    "numbers": [3, -1, 2],
    "tree": {"b": 1, "a": {"x": [True, None, 1.5], "items": "own"}, "C": "é\n\u007f"},
    "people": [{"name": "Bo", "age": 3}, {"name": "al", "age": 9, "tags": {"k": "v"}}],
}
EXPRESSIONS = """
true false none True None [] {} (1,2) 1.0 -0.0 100000000000000000000.0 0.0001 0.00001 123456789012345678.0 
[true,none,1.0,'a',"it's",'"','\\n\\t\\\\'] {'a':[1,{'b':none}]} tree people words 'a\u00e9\u0085\u200b\U0001f99c' ['a\u00e9\u0085\u200b\U0001f99c']
7%3 (-7)%3 7%-3 (-7)%(-3) 7//2 (-7)//2 7//-2 7.5//2 (-7.5)//2 (-7.5)%2 7.5%-2 7/2 8/2 1/0 1%0 1.0//0 2**3 2**-1 2.0**3 0**-1 10**20
'5'|int '-7.9'|int (-7.9)|int 7.9|int 'x'|int 'x'|int(3) none|int(4) ''|int ' 12 '|int '1_0'|int '1e3'|int true|int 'inf'|int(9)
'5'|float 'x'|float 'x'|float(1.5) 3|float '1e3'|float ' 2.5 '|float 'nan'|float -3|abs (-3)|abs (-2.5)|abs true+1 true==1 1==1.0 1<1.5 true<2
[1]==[1] [1]==[1.0] {'a':1}=={'a':1} {'a':1}=={'a':2} [1]!=[2] none==none none==undefined undefined==undefined 'a'=='a' 1=='1' not\x00x
'a'<'B' 'a'<'b' '\uffff'<'\U0001f99c' [1,2]<[1,3] [1]<[1,0] 1<'a' none<1 'a'+'b' 'a'+1 1+'a' 'a'~1 1~none 'a'~[1] [1]+[2] [1]+(2,) 'ab'*2 2*'ab' [1]*2 'a'*-1
'a'*1.0 1\x00in\x00[1.0] '1'\x00in\x00'213' 1\x00in\x00'213' 'a'\x00in\x00{'a':1} 'a'\x00not\x00in\x00tree 1\x00in\x00undefined 1\x00in\x002 [1]\x00in\x00[[1]] none\x00in\x00[none]
'\U0001f99cx'|length '\U0001f99cx'[0] '\U0001f99cx'[1:] '\U0001f99cx'[-1] 'abc'[::-1] 'abcdef'[1:5:2] 'abcdef'[4:1:-1] 'abc'[5] 'abc'[-9:9] words[1:] words[-2:] words[:-1] (1,2,3)[1:] words[9] words['x'] words[true]
'xxaxx'.strip('x') 'xxaxx'.lstrip('x') 'xxaxx'.rstrip('x') '\u0085\u001ca\ufeff\u3000'.strip() messages[2].content.split('</think>')[-1].lstrip('\\n') '\\n\\n\x20\x20\x20\x20return\x00x'.lstrip('\\n') 'abc'.strip('') 'abc'.strip(none) '\u00e9a\u00e9'.strip('\u00e9')
'a,b,,c'.split(',') 'a,b,,c'.split(',',1) 'a,b,,c'.rsplit(',',1) '\x20a\x20\x20b\x20'.split() '\x20a\x20\x20b\x20\x20c\x20'.split(none,1) '\x20a\x20\x20b\x20\x20c\x20'.rsplit(none,1) ''.split(',') ''.split() 'ab'.split('') 'a\u0085b\u001cc\ufeffd'.split() 'a,b'.split(sep=',') 'a,b,c'.split(',',maxsplit=1)
'a\\nb\\r\\nc\u2028d'.splitlines() ''.splitlines() 'a\\n'.splitlines() 'a=b=c'.partition('=') 'a=b=c'.rpartition('=') 'abc'.partition('=') 'abc'.rpartition('=') 'abcabc'.find('c') 'abcabc'.rfind('c') 'abc'.find('x') '\U0001f99cx'.find('x') 'abcabc'.count('bc') 'abc'.count('') 'abc'.index('c') 'abc'.index('x')
'aXbX'.replace('X','-') 'aXbX'.replace('X','-',1) 'aXbX'.replace('X','$&') 'ab'.replace('','-') 'ab'.replace('','-',1) 'aXbX'|replace('X','-') 'aXbX'|replace('X','-',1) 123|replace('2','-') 'abc'.startswith('a') 'abc'.startswith(('x','a')) 'abc'.startswith(['a']) 'abc'.endswith(('c','x')) 'abc'.startswith('b',1) ''.startswith('')
'h\u00e9LLO\x20wORLD'.title() 'h\u00e9LLO\x20wORLD'.capitalize() 'h\u00e9LLO'.upper() 'stra\u00dfe'.upper() 'ΑΣ'.lower() 'h\u00e9LLO'.swapcase() "they're\x20o'k-x".title() "they're\x20o'k-x\x20(ab)"|title 'hELLO'|capitalize 'a1'.isalnum() '12'.isdigit() '1.2'.isdigit() '\u00b2'.isdigit() '\u00b2'.isdecimal() '\u00bd'.isnumeric() '\x20'.isspace() ''.isspace() 'ab'.islower() 'Ab'.islower() '1'.islower() 'AB1'.isupper() 'ab'.isalpha()
'ab'.zfill(5) '-12'.zfill(5) 'ab'.ljust(5)~'|' 'ab'.rjust(5) 'ab'.center(5)~'|' 'abc'.center(6)~'|' 'ab'.center(7,'*') 'abc'.removeprefix('a') 'abc'.removesuffix('c') 'abc'.removesuffix('') ','.join(words) ','.join([1]) 'a'.foo 'a'.foo() 'a'.__class__ 'a'['upper']()
tree.a.x tree['a']['items'] tree.items() tree.keys() tree.values()|list tree.items()|list tree|items|list tree.get('z') tree.get('z',3) tree.get('b') tree.z tree.z.y tree['z'] tree|length tree|list none.x none|length undefined|length undefined.x undefined['x'] undefined|list n.x
words|first words|last []|first []|last 'abc'|first tree|first words|length words|join words|join(',') words|join('+',attribute=0) [1,none,'a']|join('|') 'abc'|join('-') people|join(',',attribute='name') words|reverse|list 'abc'|reverse words|reverse|first words|sort words|sort(reverse=true) words|sort(case_sensitive=true) numbers|sort people|sort(attribute='age',reverse=true)|map(attribute='name')|list people|sort(attribute='name')|map(attribute='name')|join(',')
words|unique|list words|unique(case_sensitive=true)|list [1,1.0,true]|unique|list numbers|sum people|sum(attribute='age') numbers|max numbers|min words|max words|min []|max words|map('upper')|list words|map('length')|sum people|map(attribute='tags.k')|list people|map(attribute='tags.k',default='-')|list people|map(attribute='age')|max [[1,2],[3,4]]|map('first')|list [[1,2],[3,4]]|sum(start=[])
messages|selectattr('role','equalto','user')|list|length messages|rejectattr('role','in',['user'])|map(attribute='role')|list people|selectattr('tags')|map(attribute='name')|list people|selectattr('tags','defined')|list|length people|rejectattr('tags')|first numbers|select('odd')|list numbers|reject('odd')|list numbers|select('gt',0)|list words|select('equalto','fig')|list numbers|select|list messages|selectattr('role','equalto','x')|first messages|selectattr('role','x','x')|list
tree|dictsort tree|dictsort(true) tree|dictsort(reverse=true) {'a':2,'b':1}|dictsort(by='value') tree|tojson tree|tojson(indent=2) tree|tojson(ensure_ascii=true) tree|tojson(sort_keys=true) tree|tojson(separators=(',',':')) tree|tojson(indent=2,separators=(',',':')) []|tojson {}|tojson(indent=4) [[],{}]|tojson(indent=1) '<a>&\\''|tojson 1.0|tojson none|tojson undefined|tojson (1,2)|tojson words|tojson(indent='>') {1:2}|tojson n|tojson(true) 'é'|tojson(true)
undefined|default('d') ''|default('d') ''|default('d',true) ''|default('d',boolean=true) none|default('d') none|d('d',true) 0|d(1,true) undefined|d 'a\\nb\\n\\nc'|indent 'a\\nb\\n\\nc'|indent(2,true) 'a\\nb\\n\\nc'|indent(2,false,true) 'a\\nb'|indent('>>') 'a\\nb\\n'|indent(1)~'|' ''|indent(2,first=true)~'|' '\x20a\x20'|trim 'xax'|trim('x') 5|trim 5|string [1]|string none|string 1.0|string none|upper 'A'|lower true|lower words|list|string 'a'|safe tree|tojson|safe 'a'|nosuch [3]|length~'' 'abc'|list (1,2)|list 5|list
1\x00is\x00number true\x00is\x00number true\x00is\x00integer 1.0\x00is\x00integer 1.0\x00is\x00float 'a'\x00is\x00string []\x00is\x00string []\x00is\x00iterable tree\x00is\x00iterable undefined\x00is\x00iterable 1\x00is\x00iterable undefined\x00is\x00sequence tree\x00is\x00sequence words\x00is\x00sequence tree.keys()\x00is\x00sequence 'a'\x00is\x00sequence tree\x00is\x00mapping none\x00is\x00none undefined\x00is\x00none undefined\x00is\x00defined tools\x00is\x00defined tools\x00is\x00not\x00none tools\x00is\x00none x\x00is\x00undefined true\x00is\x00true 1\x00is\x00true false\x00is\x00false true\x00is\x00boolean
3\x00is\x00odd -3\x00is\x00odd 2\x00is\x00even 2.0\x00is\x00even 'a'\x00is\x00odd 'a'\x00is\x00lower 'A'\x00is\x00upper 1\x00is\x00lower range\x00is\x00callable 'a'\x00is\x00nosuch range(3) range(3)|list range(1,8,3)|list range(3,0,-1)|list range(0) range(5)[1] range(3)|length range(1,2,0) range(4)[::-1] range(10)[1:8:3] range(2)+range(2) range(2)<range(3) range(2)==range(2) range(2)|tojson (2,1)|sort tools|selectattr('a')|list tools|map('upper')|list n[1:] undefined|int undefined|float {}\x00in\x00{} people|unique|list undefined\x00is\x00callable 5|indent range(200000) dict(a=1) dict([('a',1)]) namespace(a=1).a namespace({'a':2}).a namespace(a=1)
n\x00if\x00n>5 n\x00if\x00n<5 (n\x00if\x00n<5)\x00is\x00defined n\x00if\x00n<5\x00else\x00'b' 1\x00or\x002 0\x00or\x00'' 1\x00and\x002 0\x00and\x002 not\x00[] not\x000.0 not\x00messages|selectattr('role','equalto','x') []\x00or\x00none (1>0)!=(0>1) (n%2==1)==(n>3) n\x00is\x00number\x00and\x00n>6 -n|abs -n 2-1 2\x00-1 2\x00-\x001 n*2+1 1+2*3 (1+2)*3 1~2 'a'~'b'~1 +n -'a' --n not\x00not\x00n
"""
# What jinja2 takes and the product refuses: the syntax and filters that its reader or its evaluation lacks.
UNSUPPORTED = [
    "{{ () }}", "{{ (1,) }}", "{{ 1e3 }}", "{{ (-8) ** 0.5 }}", "{{ tree.a.items }}", "{{ words|map('upper') }}", "{{ 'x'|wordcount }}",
    "{{ 1 < 2 < 3 }}", "{{ 1 < 2 == true }}", "{{ 'a' in 'ab' in ['ab'] }}", "{{ '\\d' }}", "{{ n is divisibleby(7) }}", "{% with a = 1 %}{{ a }}{% endwith %}",
    "{{ '%s' % n }}", "{{ '<'|e }}", "{{ '<' ~ ('<'|safe) }}", "{{ [n|safe] }}",
]
STATEMENTS = [
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem.role }}{{ loop.nextitem.role if loop.nextitem }} {% endfor %}",
    "{% for m in messages %}{% if loop.index == 2 %}x{% continue %}{% endif %}{{ m.role }}{% if loop.index == 3 %}!{% break %}{% endif %};{% endfor %}",
    "{% for w in words %}{% continue %}{% else %}none{% endfor %}|{% for w in [] %}a{% else %}none{% endfor %}",
    "{% for w in words if w|length > 3 %}{{ loop.index }}{{ w }}{% endfor %}",
    "{% for a, b in tree.items() %}{{ a }}={{ b }};{% endfor %}{% for k in tree %}{{ k }}{% endfor %}{% for c in 'ab\U0001f99c' %}[{{ c }}]{% endfor %}",
    "{% for x in 5 %}{% endfor %}", "{% for x in undefined %}a{% else %}b{% endfor %}", "{% for x in none %}a{% endfor %}",
    "{% set x = 1 %}{% for w in words %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}",
    "{% for w in words %}{{ y is defined }}{% set y = 1 %}{% endfor %}{{ y is defined }}",
    "{% set ns = namespace(x=0, found=false) %}{% for w in words %}{% set ns.x = ns.x + 1 %}{% endfor %}{{ ns.x }}{{ ns.found }}{{ ns.z is defined }}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set loop = 1 %}{{ loop }}", "{% set tree.b = 2 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = [1] %}", "{% set a = 1, 2 %}{{ a }}", "{% set x %}a{{ n }}b{% endset %}{{ x|upper }}",
    "{% if n > 5 %}{% set z = 1 %}{% endif %}{{ z }}", "{% if 0 %}a{% elif '' %}b{% elif [0] %}c{% else %}d{% endif %}",
    "{% macro f(a, b=2, c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, c=3) }}{{ f(b=0) }}{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(z=2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, z=3) }}",
    "{% macro f(a) %}{{ outer }}{{ loop }}{% endmacro %}{% set outer = 5 %}{% for i in [1] %}{{ f(i) }}{% endfor %}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro f() %}a {{ caller() }} b{% endmacro %}{% call f() %}in{{ n }}{% endcall %}",
    "{% macro f() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b=5) f() %}{{ a }}-{{ b }}{% endcall %}",
    "{% macro f(x) %}{{ x }}{% endmacro %}{% call f(1) %}no{% endcall %}", "{% macro f(x) %}{{ x|length }}{% endmacro %}{{ f('ab')|length + 1 }}",
    "{% filter upper %}a{{ n }}b{% endfilter %}", "{% filter replace('a', 'b') %}aXa{% endfilter %}",
    "{{ raise_exception('no') }}", "{% if false %}{{ raise_exception('no') }}{% endif %}ok", "{{ strftime_now('%%') }}",
    "{% set users = messages|selectattr('role', 'equalto', 'user') %}{% for u in users %}{{ u.role }}{% endfor %}{% for u in users %}again{% endfor %}{% if users %}true{% endif %}",
    "{{ words|select|length }}", "{{ words|map('upper')|last }}", "{{ (words|map('upper'))[0] }}", "{{ words.append('x') }}", "{{ tree.pop('a') }}",
    "  {% if true %}\n  a\n  {% endif %}\n b", "{%- if true -%}  a  {%- endif -%}  b", "a {# note #}\n b", " {#- note -#} b", "{{ 1 }}\n\n", "a\r\nb\rc", "{{ 'a' 'b' }}", "{{ \"\\u00e9\\x41\" }}",
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 1) %}odd{% endif %}{% endfor %}",
    "{%- for m in messages -%}<|im_start|>{{ m['role'] + '\\n' + m['content']|trim + '<|im_end|>' + '\\n' }}{%- endfor -%}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{{ bos_token }}{% generation %}x{% endgeneration %}{{ eos_token }}", "{% if tools %}a{% elif documents is none %}b{% endif %}",
    "{{ loop.cycle('a', 'b') }}", "{% for i in range(3) %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}",
    "{{ undefined }}{{ undefined ~ 'a' }}", "{{ undefined + 1 }}", "{{ undefined() }}", "{{ f(*[1]) }}", "{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1], **{'b': 2}) }}",
    "{{ messages[0]['content'][:4] }}{{ messages[-1].content }}{{ messages|length }}{{ messages[1:]|length }}", "{{ messages }}",
    "{% include 'x' %}", "{{ 1 + }}", "{% if %}", "{{ 'a", "{% for x in words %}", "{{ x }", "{% set %}", "{{ (1 }}", "{{ [1 }}",
    "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set rest = messages[1:] %}{% endif %}{{ s }}{{ rest|length }}",
    "{%- set date = '26 Jul 2024' if not date is defined else date %}{{ date }}",
    "{% set content = messages[2].content %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}[{{ content }}]",
    # As R1 distillations do: the system's text first, thoughts of former answers left out, a marker with a new one begun.
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(system='', is_tool=false) %}"
    "{%- for m in messages %}{%- if m['role'] == 'system' %}{% set ns.system = m['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system}}"
    "{%- for m in messages %}{%- if m['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<\uff5cUser\uff5c>' + m['content']}}{%- endif %}"
    "{%- if m['role'] == 'assistant' and m['content'] is not none %}{% set content = m['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}{{'<\uff5cAssistant\uff5c>' + content + eos_token}}{%- endif %}{%- endfor -%}"
    "{% if add_generation_prompt and not ns.is_tool %}{{'<\uff5cAssistant\uff5c><think>\\n'}}{% endif %}",
    "{% set content = messages[2].content %}[{{ content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}]",
]


def main():
    templates = ["{{ " + e.replace("\0", " ") + " }}" for e in EXPRESSIONS.split(" ") for e in e.split("\n") if e]
    rows = []
    for template in templates + STATEMENTS:
        try:
            text = _compile_jinja_template(template).render(messages=MESSAGES, **VARIABLES)
        except Exception:  # jinja2 lets Python's own errors through
            text = None
        rows.append([template, text])
    for template in UNSUPPORTED:
        _compile_jinja_template(template).render(messages=MESSAGES, **VARIABLES)
    versions = {"jinja2": jinja2.__version__, "transformers": transformers.__version__}
    head = json.dumps({"made_with": versions, "messages": MESSAGES, "variables": VARIABLES, "unsupported": UNSUPPORTED})[:-1]
    lines = ",\n".join(json.dumps(row) for row in rows)
    FIXTURE.write_text(f'{head}, "rendered": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
