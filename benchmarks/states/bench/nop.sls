{%- for name in salt["pillar.get"]("bench") %}
{{ ("bench-" ~ name) | json }}:
  test.nop:
    - name: {{ name | json }}
{%- endfor %}
