{%- from "kvm/map.jinja" import kvm with context %}
{%- from "kvm/declare.jinja" import declare with context %}
{{ declare("image", kvm.get("images"), ["present", "absent"], "present") }}
