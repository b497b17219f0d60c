{%- from "kvm/map.jinja" import kvm with context %}

# Small wheels: nothing is compiled and no package installed before the pillar is known to be valid.
kvm-valid-library:
  kvm_host.libraries:
    - packages: {{ kvm.host.validator_packages | json }}
    - reload_modules: true

kvm-valid:
  kvm_host.valid:
    - failhard: true
    - require:
      - kvm_host: kvm-valid-library
