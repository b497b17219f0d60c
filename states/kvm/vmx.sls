#!jinja|json
{%- from "kvm/declare.jinja" import declare %}
{{ declare("vmx", pillar, "vmx", ["managed", "option_present", "option_absent", "nested_enabled"], "managed", module="vmx", include=[] if opts.get("resource_type") else ["kvm.valid"]) }}
