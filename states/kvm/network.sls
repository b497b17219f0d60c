#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("network", pillar, "networks", ["present", "running", "stopped", "absent"], "running") }}
