{%- for name, spec in salt["pillar.get"]("kvm:domains").items() %}
{{ ("bench-" ~ name) | json }}:
  test.nop:
    - name: {{ name | json }}
{%- for key, value in spec.items() %}
    - {{ key | json }}: {{ value | json }}
{%- endfor %}
{%- endfor %}
