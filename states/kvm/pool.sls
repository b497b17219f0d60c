{%- from "kvm/map.jinja" import kvm with context %}
{%- from "kvm/declare.jinja" import declare with context %}
{{ declare("pool", kvm.get("pools"), ["present", "running", "stopped", "absent"], "running") }}
