#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("pool", pillar, "pools", ["present", "running", "stopped", "absent"], "running") }}
