#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("image", pillar, "images", ["present", "absent"], "present") }}
