#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("volume", pillar, "volumes", ["present", "wiped", "absent"], "present") }}
