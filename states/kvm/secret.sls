#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("secret", pillar, "secrets", ["present", "absent"], "present") }}
