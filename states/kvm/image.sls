#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("image", salt["pillar.get"]("kvm:images", {}), ["present", "absent"], "present") }}
