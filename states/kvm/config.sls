{%- from "kvm/map.jinja" import kvm with context %}
{%- set host = kvm.host %}
{%- set paths = {"libvirt-guests": host.guests_file} %}

include:
  - kvm.valid
  - kvm.host
{%- if host.config %}

kvm-config-files:
  kvm_host.config:
    - paths: {{ paths | json }}
    - require:
      - pkg: kvm-host-packages
{%- endif %}
{%- if host.guests %}
{%- set settings = {} %}
{%- for key, value in host.guests.items() if value is not none %}
{%- do settings.update({key | upper: value}) %}
{%- endfor %}

kvm-config-guests:
  kvm_host.config:
    - files: {{ {"libvirt-guests": settings} | json }}
    - paths: {{ paths | json }}
    - require:
      - pkg: kvm-host-packages
{%- if grains.init == "systemd" %}

# As shipped it is ordered after libvirt's sockets only: the daemon goes down beside it at the host's
# shutdown, and then there is nobody who could stop the guests.
kvm-config-guests-order:
  file.managed:
    - name: /etc/systemd/system/libvirt-guests.service.d/salt-kvm.conf
    - makedirs: true
    - mode: '0644'
    - contents: |
        # Written by Salt from kvm:host:guests of the pillar.
        [Unit]
        After=libvirtd.service virtqemud.service
    - require:
      - kvm_host: kvm-config-guests

kvm-config-guests-reload:
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: kvm-config-guests-order

kvm-config-guests-service:
  service.running:
    - name: libvirt-guests
    - enable: true
    - require:
      - cmd: kvm-config-guests-reload
{%- endif %}
{%- endif %}
{%- if host.users %}
{%- for group in host.groups | unique %}

{{ ("kvm-config-group-" ~ group) | json }}:
  group.present:
    - name: {{ group | json }}
    - addusers: {{ host.users | json }}
    - require:
      - pkg: kvm-host-packages
{%- endfor %}
{%- endif %}
{%- if not (host.config or host.guests or host.users) %}

kvm-config-none:
  test.nop: []
{%- endif %}
