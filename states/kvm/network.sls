#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("network", salt["pillar.get"]("kvm:networks", {}), ["present", "running", "stopped", "absent"], "running") }}
