{%- from "kvm/map.jinja" import kvm with context %}
{%- set build = kvm.host.build %}
{%- set headers = [] if grains.pythonexecutable.startswith(kvm.host.bundle) else build.headers %}

include:
  - kvm.valid

kvm-python-build:
  pkg.installed:
    - pkgs: {{ (build.packages + headers) | json }}
    - skip_suggestions: true
{%- for option, value in build.options.items() if value is not none %}
    - {{ option }}: {{ value | json }}
{%- endfor %}
    - require:
      - kvm_host: kvm-valid
    - prereq:
      - kvm_host: kvm-python-libraries

kvm-python-libraries:
  kvm_host.libraries:
    - packages: {{ kvm.host.python_packages | json }}
    - reload_modules: true
