#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("domain", pillar, "domains", ["present", "running", "installed", "stopped", "absent"], "running", prunes=true) }}
