{%- from "kvm/map.jinja" import kvm with context %}
{%- from "kvm/declare.jinja" import declare with context %}
{{ declare("network", kvm.get("networks"), ["present", "running", "stopped", "absent"], "running") }}
