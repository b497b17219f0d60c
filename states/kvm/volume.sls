#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("volume", salt["pillar.get"]("kvm:volumes", {}), ["present", "wiped", "absent"], "present") }}
