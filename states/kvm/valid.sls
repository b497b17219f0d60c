# A small wheel: nothing is compiled and no package installed before the pillar is known to be valid.
# Each part includes this one, so it takes no time for the maps.
kvm-valid-library:
  kvm_host.libraries:
    - packages: [msgspec]
    - reload_modules: true

kvm-valid:
  kvm_host.valid:
    - failhard: true
    - require:
      - kvm_host: kvm-valid-library
