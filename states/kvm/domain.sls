{%- from "kvm/map.jinja" import kvm with context %}
{%- from "kvm/declare.jinja" import declare with context %}
{{ declare("domain", kvm.get("domains"), ["present", "running", "stopped", "absent"], "running") }}
