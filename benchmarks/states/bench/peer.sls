{%- for name, spec in salt["pillar.get"]("guests").items() %}
{{ ("bench-" ~ name) | json }}:
  virt.defined:
    - name: {{ name | json }}
{%- for key, value in spec.items() %}
    - {{ key | json }}: {{ value | json }}
{%- endfor %}
{%- endfor %}
