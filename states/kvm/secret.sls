#!jinja|json
{#- No value goes into the rendered SLS, which Salt logs: the state takes it from the pillar. -#}
{%- from "kvm/declare.jinja" import declare %}
{%- set section = {} %}
{%- for name, spec in salt["pillar.get"]("kvm:secrets", {}).items() if spec is mapping %}
{%- set value = {"value": "pillar://" ~ name} if "value" in spec else {} %}
{%- do section.update({name: dict(spec, **value)}) %}
{%- endfor %}
{{ declare("secret", section, ["present", "absent"], "present") }}
