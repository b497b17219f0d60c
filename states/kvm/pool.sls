#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("pool", salt["pillar.get"]("kvm:pools", {}), ["present", "running", "stopped", "absent"], "running") }}
