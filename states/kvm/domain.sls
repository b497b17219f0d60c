#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("domain", salt["pillar.get"]("kvm:domains", {}), ["present", "running", "stopped", "absent"], "running", salt["pillar.get"]("kvm:prune:domains", false)) }}
