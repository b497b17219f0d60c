{%- from "kvm/map.jinja" import kvm with context %}
{%- set host = kvm.host %}
{%- set daemons = host.daemon_sets[host.daemons] %}
{%- set emulators = [] if "packages" in kvm.declared else host.emulators.get(grains.cpuarch, []) %}

include:
  - kvm.valid
  - kvm.python

kvm-host-virtualisation:
  kvm_host.virtualisation:
    - require:
      - kvm_host: kvm-valid

kvm-host-packages:
  pkg.installed:
    - pkgs: {{ (host.packages + emulators + host.extra_packages) | json }}
    - skip_suggestions: true
{%- for option, value in host.package_options.items() %}
    - {{ option }}: {{ value | json }}
{%- endfor %}
    - require:
      - kvm_host: kvm-host-virtualisation
      - kvm_host: kvm-python-libraries
{%- if grains.init == "systemd" %}
{%- for unit in (host.services or daemons.running) | unique %}

{{ ("kvm-host-service-" ~ unit) | json }}:
  service.running:
    - name: {{ unit | json }}
    - enable: true
    - require:
      - pkg: kvm-host-packages
{%- endfor %}
{%- for unit in daemons.boot if not host.services %}

kvm-host-boot-{{ unit }}:
  service.enabled:
    - name: {{ unit | json }}
    - require:
      - pkg: kvm-host-packages
{%- endfor %}
{%- else %}
{%- for daemon in daemons.by_hand %}

kvm-host-daemon-{{ daemon }}:
  kvm_host.daemon:
    - name: {{ daemon | json }}
    - require:
      - pkg: kvm-host-packages
{%- endfor %}
{%- endif %}
